"""What does an example of the gallery print and draw? It is run when the pages are built."""

import contextlib
import io
from pathlib import Path
from typing import Any

import vl_convert

GALLERY = Path(__file__).parents[1] / "gallery"
WIDTH = 560  # pixels, for charts as wide as their box
INK = {"light": "#1a1a1a", "dark": "#e6e6e6"}
FAINT = {"light": "#d8d8d8", "dark": "#4a4a4a"}


def example(name: str, pictures: Path) -> str:
    """Run an example and give its code, what it prints and its chart as Markdown.

    Args:
        name: of its file in the gallery.
        pictures: the folder that its chart is written to.

    Returns:
        Markdown; the docstring of the file stands above the code.
    """
    source = (GALLERY / name).read_text(encoding="utf-8")
    told, namespace = run(source, name)
    about, code = source.removeprefix('"""').split('"""\n', 1)
    parts = [about.strip(), f"```python\n{code.strip()}\n```"]
    parts += [f"```text\n{told.strip()}\n```"] if told.strip() else []
    if "chart" in namespace:
        specification = sized(namespace["chart"].to_dict())
        pictures.mkdir(exist_ok=True)
        for theme in INK:
            file = f"{Path(name).stem}-{theme}.svg"
            drawn = vl_convert.vegalite_to_svg(specification, config=colours(theme))
            (pictures / file).write_text(drawn, encoding="utf-8")
            parts.append(f"![{about.strip().splitlines()[0]}](/generated/{file}){{.only-{theme}}}")
    return "\n\n".join(parts)


def run(source: str, name: str) -> tuple[str, dict[str, Any]]:
    """Run the text of an example; give what it printed and the names that it made."""
    namespace: dict[str, Any] = {"__name__": "example"}
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(compile(source, name, "exec"), namespace)
    return told.getvalue(), namespace


def sized(specification: dict[str, Any]) -> dict[str, Any]:
    """Give charts that are as wide as their box a width, since a picture has no box."""
    wide = specification.get("width") == "container"
    return specification | ({"width": WIDTH} if wide else {})


def colours(theme: str) -> dict[str, Any]:
    """The colours of text and lines, on the page's own background."""
    ink, faint = INK[theme], FAINT[theme]
    text = {"labelColor": ink, "titleColor": ink}
    return {
        "background": None,
        "view": {"stroke": faint},
        "axis": text | {"gridColor": faint, "domainColor": faint, "tickColor": faint},
        "legend": text,
        "header": text,
        "title": {"color": ink, "subtitleColor": ink},
        "text": {"color": ink},
    }
