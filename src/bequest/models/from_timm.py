"""How is a model of timm built by its name?"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from bequest.models.published import imported, in_torch_cache


def timm_model(name: str, classes: int | None, options: Mapping[str, Any]) -> nn.Module:
    """Build a network with drawn weights.

    Args:
        name: as in `timm.list_models()`, with or without a tag (`vit_tiny_patch16_224.augreg_in21k`).
        classes: outputs of the head; the network's own number if None.
        options: more keyword arguments of the network, such as `img_size`.

    Returns:
        The network, in training mode.

    Raises:
        ValueError: if timm has no such model, or it does not take the options.
    """
    timm = load_timm()
    known = name.partition(".")[0]
    if not timm.is_model(known):
        near = difflib.get_close_matches(known, timm.list_models(), n=1, cutoff=0.5)
        raise ValueError(f"timm has no model {name!r}{f', did you mean {near[0]!r}?' if near else ''}")
    given = dict(options) if classes is None else {**options, "num_classes": classes}
    try:
        model = timm.create_model(name, pretrained=False, **given)
    except (TypeError, RuntimeError) as error:  # RuntimeError: an unknown tag
        raise ValueError(f"timm cannot build {name!r} with {given}: {error}") from error
    assert isinstance(model, nn.Module)
    return model


def timm_weights(name: str) -> Path:
    """Find the published weights of a model in the local caches; nothing is downloaded.

    Args:
        name: as in `timm.list_models(pretrained=True)`.

    Returns:
        The path of the file.

    Raises:
        FileNotFoundError: if they are not on this machine.
    """
    cfg = load_timm().get_pretrained_cfg(name)
    if cfg is not None and cfg.hf_hub_id:
        from huggingface_hub import try_to_load_from_cache

        for file in ("model.safetensors", "pytorch_model.bin"):
            found = try_to_load_from_cache(cfg.hf_hub_id, file)
            if isinstance(found, str):
                return Path(found)
    if cfg is not None and cfg.url:
        cached = in_torch_cache(cfg.url)
        if cached.is_file():
            return cached
    raise FileNotFoundError(
        f"the published weights of timm:{name} are not on this machine, and nothing is downloaded here. "
        f"python -c \"import timm; timm.create_model('{name}', pretrained=True)\" fetches them; or give a file"
    )


def load_timm() -> Any:
    """Import timm.

    Returns:
        The package.

    Raises:
        ValueError: if it is not installed or does not import.
    """
    return imported("timm", door="timm", extra="timm")
