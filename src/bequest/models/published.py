"""How are the packages imported that other people's networks come from, and where do published weights lie?"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from bequest.models.torchvision_ops import ready_torchvision


def imported(package: str, *, door: str, extra: str) -> Any:
    """Import a package that networks are opened from.

    Args:
        package: its name, or that of one of its modules.
        door: how its networks are named, as in `timm:NAME`.
        extra: of Bequest, which installs it.

    Returns:
        The package, with the module loaded.

    Raises:
        ValueError: if it is not installed or does not import.
    """
    ready_torchvision()
    whole = package.partition(".")[0]
    try:
        importlib.import_module(package)
        return importlib.import_module(whole)
    except ModuleNotFoundError as error:
        raise ValueError(f'{door}: models need {error.name}: pip install "bequest[{extra}]"') from error
    except RuntimeError as error:  # a torchvision that does not fit torch in some other way
        raise ValueError(
            f"{whole} does not import ({str(error).splitlines()[0]}); install a torchvision that was built for this "
            "torch"
        ) from error


def in_torch_cache(url: str) -> Path:
    """Give the place where torch keeps what it fetched from an address; it may not be there."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
