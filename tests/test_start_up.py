"""Importing costs little: no torch for the help text, no heavy library for the package itself."""

import subprocess
import sys


def modules_after(code):
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(ran.stdout.split("\n")[-2].split())


def test_import_bequest_imports_nothing_heavy():
    assert not modules_after("import bequest") & {"torch", "numpy", "polars", "altair", "pydantic", "scipy", "PIL"}


def test_the_command_line_is_defined_without_torch():
    heavy = {"torch", "numpy", "polars", "altair", "pydantic", "scipy", "PIL"}
    assert not modules_after("import bequest.cli") & heavy


def test_help_lists_the_commands():
    ran = subprocess.run([sys.executable, "-m", "bequest", "--help"], capture_output=True, text=True, check=True)
    for command in ("demo", "run", "status", "show", "report"):
        assert command in ran.stdout
