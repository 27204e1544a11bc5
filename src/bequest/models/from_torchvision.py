"""How is a model of torchvision built by its name?"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from bequest.models.published import imported, in_torch_cache


def torchvision_model(name: str, classes: int | None, options: Mapping[str, Any]) -> nn.Module:
    """Build a network with drawn weights.

    Args:
        name: an image classifier of `torchvision.models.list_models()`.
        classes: outputs of the head; the network's own number if None.
        options: more keyword arguments of the network, such as `image_size`.

    Returns:
        The network, in training mode.

    Raises:
        ValueError: if torchvision has no such classifier, or it does not take the options.
    """
    models = load_torchvision().models
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        raise ValueError(f"torchvision has no classifier {name!r}{f', did you mean {near[0]!r}?' if near else ''}")
    given = dict(options) if classes is None else {**options, "num_classes": classes}
    if name in ("googlenet", "inception_v3"):
        given.setdefault("init_weights", True)  # else it warns that its default will change
    try:
        model = models.get_model(name, weights=None, **given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"torchvision cannot build {name!r} with {given}: {error}") from error
    assert isinstance(model, nn.Module)
    return model


def torchvision_weights(name: str) -> Path:
    """Find the published weights of a model in torch's cache; nothing is downloaded.

    Args:
        name: an image classifier of `torchvision.models.list_models()`.

    Returns:
        The path of the file.

    Raises:
        FileNotFoundError: if they are not on this machine.
    """
    weights = load_torchvision().models.get_model_weights(name).DEFAULT
    found = in_torch_cache(weights.url)
    if not found.is_file():
        raise FileNotFoundError(
            f"the published weights of torchvision:{name} are not at {found}, and nothing is downloaded here. "
            f"python -c \"import torchvision; torchvision.models.get_model('{name}', weights='DEFAULT')\" fetches "
            "them; or give a file"
        )
    return found


def load_torchvision() -> Any:
    """Import torchvision.

    Returns:
        The package.

    Raises:
        ValueError: if it is not installed or does not import.
    """
    return imported("torchvision.models", door="torchvision", extra="timm")
