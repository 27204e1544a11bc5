"""Where do pages get text from the code?

A line `<!-- study keys -->`, `<!-- commands -->`, `<!-- names -->`, `<!-- analysis: NAME -->` or
`<!-- example: FILE -->` is replaced by Markdown before the page is read. It is a comment, so the page can be read
without being built.
"""

import re
from collections.abc import Callable
from pathlib import Path

from building.command_line import commands
from building.examples import example
from building.names import names
from building.readings import reading
from building.study_keys import study_keys

MAKERS: dict[str, Callable[..., str]] = {
    "study keys": study_keys,
    "commands": commands,
    "names": names,
    "analysis": reading,
    "example": example,
}
LINE = re.compile(r"^<!-- ([a-z ]+?)(?:: (\S+))? -->$", re.MULTILINE)


def filled(text: str, pictures: Path) -> str:
    """Put in what the code says.

    Args:
        text: of a page, Markdown.
        pictures: the folder that the pictures of examples are written to.

    Returns:
        The page; other comments stay as they are.
    """

    def made(found: re.Match[str]) -> str:
        what, argument = found[1], found[2]
        if what not in MAKERS:
            return found[0]
        if what == "example":
            return example(argument, pictures)
        return MAKERS[what](*([argument] if argument else []))

    return LINE.sub(made, text)


def setup(app) -> dict[str, bool]:
    """Tell Sphinx."""

    def read(app, page, source) -> None:
        source[0] = filled(source[0], Path(app.srcdir) / "generated")

    app.connect("source-read", read)
    return {"parallel_read_safe": False}
