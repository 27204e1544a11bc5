"""The way of the data: imports go one way, one analysis never imports another, no file grows past its idea."""

import ast
from pathlib import Path

import pytest

import bequest

PACKAGE = Path(bequest.__file__).parent
ROOMS = ["weights", "models", "data", "evaluation", "training", "analyses", "decisions", "study", "report", "cli"]
SHARED_BY_ANALYSES = {"conditions", "groups", "intervals", "module_charts", "pairs", "panels", "result", "verdict"}
SHARED_BY_ANALYSES |= {"material", "plugins"}
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 400


def imported(path):
    """Names of the bequest modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("bequest"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bequest"):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; write the whole name"


def room(name):
    """The room of a dotted name, or None for the package itself."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own not in ROOMS:
        assert own in {"__init__", "__main__"}, f"{path} is in no room of the house"
        return
    for name in imported(path):
        other = room(name)
        assert other is None or ROOMS.index(other) <= ROOMS.index(own), f"{own} must not import {name}"


def test_one_analysis_never_imports_another():
    analyses = {path.stem for path in (PACKAGE / "analyses").glob("*.py")} - SHARED_BY_ANALYSES - {"__init__"}
    assert {"barrier", "distance", "learning_curves", "mistakes", "similarity"} <= analyses
    for name in analyses | SHARED_BY_ANALYSES:
        for other in imported(PACKAGE / "analyses" / f"{name}.py"):
            parts = other.split(".")
            if parts[:2] == ["bequest", "analyses"] and len(parts) > 2 and name in analyses:
                assert parts[2] in SHARED_BY_ANALYSES, f"{name} imports {other}"


def test_the_weight_algebra_needs_torch_and_the_standard_library_alone():
    import sys

    for path in (PACKAGE / "weights").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in {"torch", "bequest", "__future__"} | sys.stdlib_module_names, (path, name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_grows_past_one_idea(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST
    assert path.stem not in {"utils", "helpers", "manager", "base", "common", "core"}


def test_every_public_name_exists_and_has_a_docstring():
    for name in bequest.__all__:
        assert getattr(bequest, name).__doc__, name
    with pytest.raises(AttributeError, match="bequest has no 'barier'"):
        bequest.barier  # noqa: B018 - the access itself is tested
