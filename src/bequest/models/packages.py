"""Where are the weights that an installed package ships?

`package:NAME/PLACE` is a file or folder inside the package NAME, wherever it is installed, so that a study file means
the same on every machine. The package is found and not imported: none of its code is run.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

PREFIX = "package:"


def package_path(place: str) -> Path:
    """Find a file or folder inside an installed package.

    Args:
        place: `package:NAME/PLACE`, or any other path.

    Returns:
        The path; another path as it is.

    Raises:
        ValueError: if the place leaves the package.
        FileNotFoundError: if the package is not installed, or has nothing of that name.
    """
    if not place.startswith(PREFIX):
        return Path(place)
    name, _, inner = place.removeprefix(PREFIX).partition("/")
    if not name.isidentifier() or ".." in Path(inner).parts:
        raise ValueError(f"{place!r} is no place in a package; write {PREFIX}NAME/PLACE")
    found = find_spec(name)
    folders = list(found.submodule_search_locations or ()) if found else []
    if not folders:
        raise FileNotFoundError(f"{place}: the package {name} is not installed: pip install {name.replace('_', '-')}")
    path = Path(folders[0]) / inner
    if not path.exists():
        raise FileNotFoundError(f"{place}: the package {name} has no {inner}")
    return path
