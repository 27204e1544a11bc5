"""Do these weights fit this model, and what if only the head doesn't?"""

from __future__ import annotations

from torch import Tensor, nn

from bequest.models.head import head_name
from bequest.weights.algebra import Weights

_COUNTER = "num_batches_tracked"  # older files lack it, and evaluation never reads it


def fit_weights(model: nn.Module, weights: Weights, *, except_head: bool = False) -> None:
    """Check that weights have the names and shapes of a model.

    Args:
        model: the network they should go into; it is left as it is.
        weights: what was read or trained.
        except_head: leave the head out of the check.

    Raises:
        ValueError: names up to three tensors that are missing, unknown or of another shape, and the way out.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    head = _head_keys(model, own.keys() | weights.keys()) if except_head else set()
    missing = [name for name in own if name not in weights and name not in head and not name.endswith(_COUNTER)]
    unknown = [name for name in weights if name not in own and name not in head]
    if missing or unknown:
        raise ValueError(
            f"the weights are not of this model ({type(model).__name__}): {_some('missing', missing)}, "
            f"{_some('unknown', unknown)}; open the model that the weights were saved from"
        )
    wrong = [name for name in weights if name not in head and weights[name].shape != own[name].shape]
    if wrong:
        shapes = [f"{name} is {_shape(weights[name])}, the model has {_shape(own[name])}" for name in wrong[:3]]
        only_head = set(wrong) <= _head_keys(model, set(wrong))
        way_out = (
            "only the head differs: give the number of classes to get a fresh head, or open the model with the "
            "weights' own number"
            if only_head
            else "open the model that the weights were saved from"
        )
        raise ValueError(f"{len(wrong)} tensors do not fit: {'; '.join(shapes)}. {way_out}")


def transfer(pretrained: Weights, model: nn.Module) -> dict[str, Tensor]:
    """Start a model from pre-trained weights: all of them but the head, which stays the model's own.

    Args:
        pretrained: weights of the same network with a head for any number of classes.
        model: the target model with its fresh head; it is left as it is.

    Returns:
        Full weights for `model`, all copies, in the model's dtypes and on its devices.
    """
    fit_weights(model, pretrained, except_head=True)
    own = model.state_dict()
    head = _head_keys(model, set(own))
    return {
        name: tensor.clone() if name in head or name not in pretrained else pretrained[name].to(tensor, copy=True)
        for name, tensor in own.items()
        if isinstance(tensor, Tensor)
    }


def _head_keys(model: nn.Module, names: set[str]) -> set[str]:
    try:
        prefix = head_name(model) + "."
    except ValueError:  # no head: then nothing is left out
        return set()
    return {name for name in names if name.startswith(prefix)}


def _some(word: str, names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} {word}" + (f" ({shown})" if names else "")


def _shape(tensor: Tensor) -> str:
    return f"{list(tensor.shape)}"
