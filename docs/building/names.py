"""Which names are public? Asked of the package, which lists them in groups."""

import inspect
import re
from pathlib import Path

import bequest


def names() -> str:
    """Give all public names with their docstrings, a section a group, as Markdown that autodoc fills."""
    listed = re.search(r"^_HOMES = \{\n(.*?)^\}", Path(bequest.__file__).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    parts = []
    for group in re.split(r"^    # ", listed[1] if listed else "", flags=re.MULTILINE)[1:]:
        title, *lines = group.splitlines()
        entries = "\n".join(_entry(name) for name in re.findall(r'"(\w+)": ', "\n".join(lines)))
        parts.append(f"## {title[0].upper()}{title[1:]}\n\n```{{eval-rst}}\n{entries}\n```")
    return "\n\n".join(parts)


def _entry(name: str) -> str:
    if inspect.isclass(getattr(bequest, name)):
        return f".. autoclass:: bequest.{name}\n   :members:\n"
    return f".. autofunction:: bequest.{name}\n"
