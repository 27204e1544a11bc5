"""Which of the usual analyses cannot be made of this network?

An analysis that a study names has to be made or to fail. Those that are made because none are named are left out where
the network does not allow them, and the report says why.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from bequest.models.opening import open_model
from bequest.models.symmetry import symmetry_of
from bequest.models.watching import left_alone
from bequest.study.options import Analyses
from bequest.study.spec import Study

NO_IMAGES = "which channels belong together is found by running the network on an image, and this one takes none"


def without_impossible(study: Study, named: Collection[str] = ()) -> Study:
    """Leave out the analyses that nobody named and that the network does not allow.

    Args:
        study: one of given weights.
        named: analyses that were asked for by name.

    Returns:
        The study; `left_out` says what is not made, and why. The same study where everything can be made.

    Raises:
        ValueError: if there is no such network.
    """
    if "matching" not in study.asked() or "matching" in named:
        return study
    model = open_model(study.model, classes=2)
    reason = _why_not(model, torch.zeros(2, 3, study.size, study.size))
    if reason is None:
        return study
    kept = {name: options for name, options in study.asked().items() if name != "matching"}
    return study.model_copy(
        update={"analyses": Analyses.model_validate(kept), "left_out": {**study.left_out, "matching": reason}}
    )


def _why_not(model: nn.Module, images: Tensor) -> str | None:
    """Why channels cannot be matched; None where they can."""
    if not _takes(model, images):
        return NO_IMAGES
    try:
        symmetry_of(model, images)
    except ValueError as error:
        return " ".join(str(error).split())
    except (RuntimeError, TypeError):  # from inside the network
        return NO_IMAGES
    return None


def _takes(model: nn.Module, images: Tensor) -> bool:
    """Whether a network can be given images; one of texts may say so with any error."""
    try:
        with left_alone(model), torch.no_grad():
            model(images)
    except Exception:
        return False
    return True
