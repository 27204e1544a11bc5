"""How do the published weights of a model want their images, where a study does not say it?

Weights only mean what they meant on images that were made alike: a study of a network by its published name takes the
size, normalisation, filter and crop that go with the name, for every key that it leaves out.
"""

from __future__ import annotations

from typing import Any, get_args

from bequest.data.source import Interpolation

FAMILIES = ("timm", "torchvision", "hf")
PREPARED = ("size", "mean", "std", "interpolation", "crop")


def prepared(model: object) -> dict[str, Any]:
    """Find the keys of a study that say how images are prepared.

    Args:
        model: what the study says of its model; anything else than a name of one of `FAMILIES` has nothing known.

    Returns:
        A value for each of `PREPARED`; empty where nothing is known, or there is no such model.
    """
    if not isinstance(model, str) or model.partition(":")[0] not in FAMILIES:
        return {}
    from bequest.models.preprocessing import preprocessing  # here, for it loads torch

    try:
        found = preprocessing(model)
    except (ValueError, OSError, RuntimeError):  # no such model, or its package is missing: opening it says so
        return {}
    if found is None:
        return {}
    known = found.interpolation if found.interpolation in get_args(Interpolation) else "bilinear"
    kept = {"size": found.size[0], "mean": list(found.mean), "std": list(found.std)}
    return kept | {"interpolation": known, "crop": round(found.crop, 4)}
