"""Which commands are there? Asked of the functions that they call."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.models import ArgumentInfo

from bequest.cli import app

VALUES = {int: "NUMBER", str: "TEXT", Path: "PATH"}


def commands() -> str:
    """Give all commands with their arguments and options as Markdown."""
    found = [(one.name or one.callback.__name__, one.callback) for one in app.registered_commands if one.callback]
    return "\n\n".join(_command(name, function) for name, function in found)


def _command(name: str, function: Callable[..., Any]) -> str:
    hints = get_type_hints(function, include_extras=True)
    arguments, lines = [], []
    for key, parameter in inspect.signature(function).parameters.items():
        kind, told = get_args(hints[key])[:2]
        kinds = [one for one in get_args(kind) or (kind,) if one is not type(None)]
        several = any("list" in str(one) for one in (kind, *kinds))
        if isinstance(told, ArgumentInfo):
            word = key.upper() + "..." * several
            arguments.append(word if parameter.default is parameter.empty else f"[{word}]")
            lines.append(f"`{key.upper()}`\n: {told.help}")
        else:
            option = next(iter(told.param_decls or ()), f"--{key.replace('_', '-')}")
            option += f"`, `--no-{option.removeprefix('--')}" * (parameter.default is True)  # it can be taken back
            value = "" if kinds == [bool] else f" {VALUES.get(kinds[0], 'TEXT')}"
            default = parameter.default
            shown = f" Default: `{default}`." if default not in (None, False, True, parameter.empty) else ""
            about = told.help if told.help.endswith((".", "…")) else f"{told.help}."
            lines.append(f"`{option}{value}`\n: {about}{shown}")
    usage = " ".join([f"bequest {name}", "[OPTIONS]", *arguments])
    about = inspect.getdoc(function) or ""
    return "\n\n".join([f"## `bequest {name}`", about, f"```text\n{usage}\n```", *lines])
