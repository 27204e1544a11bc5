"""Do these weights fit this model, and what if only the head doesn't?"""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from bequest.models.from_transformers import placed
from bequest.models.head import head_parts, says_tokens
from bequest.weights.algebra import Weights
from bequest.weights.naming import aligned

_COUNTER = "num_batches_tracked"  # older files lack it, and evaluation never reads it


def fit_weights(model: nn.Module, weights: Weights, *, except_head: bool = False) -> None:
    """Check that weights have the names and shapes of a model.

    Args:
        model: the network they should go into; it is left as it is.
        weights: what was read or trained.
        except_head: leave the head out of the check.

    Raises:
        ValueError: names up to three tensors each that are missing, unknown and of another shape, or one without
            floating-point numbers, and the way out.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    head = _head_keys(model, own.keys() | weights.keys()) if except_head else set()
    spare = head | _poolers(model, own.keys()) if except_head else set()
    missing = [name for name in own if name not in weights and name not in spare and not name.endswith(_COUNTER)]
    unknown = [name for name in weights if name not in own and name not in head]
    if missing and not unknown and set(missing) <= _head_keys(model, set(missing)):
        raise ValueError(
            f"the weights have no head for this model ({type(model).__name__}): {_some('missing', missing)}; give the "
            "number of classes to get a fresh one"
        )
    both = [name for name in weights if name in own and name not in head]
    wrong = [name for name in both if weights[name].shape != own[name].shape]
    shapes = [f"{name} is {_shape(weights[name])}, the model has {_shape(own[name])}" for name in wrong[:3]]
    if missing or unknown:
        apart = [_some("missing", missing)] * bool(missing) + [_some("unknown", unknown)] * bool(unknown)
        apart += [f"{len(wrong)} of another shape ({', '.join(shapes)}{', …' * (len(wrong) > 3)})"] * bool(wrong)
        raise ValueError(
            f"the weights are not of this model ({type(model).__name__}): {'; '.join(apart)}; open the model that the "
            "weights were saved from"
        )
    if wrong:
        only_head = set(wrong) <= _head_keys(model, set(wrong))
        way_out = (
            "Only the head differs: give the number of classes to get a fresh head, or open the model with the "
            "weights' own number"
            if only_head
            else "Open the model that the weights were saved from"
        )
        raise ValueError(f"{len(wrong)} tensors do not fit: {'; '.join(shapes)}. {way_out}")
    for name, tensor in weights.items():
        if name in own and name not in head and own[name].is_floating_point() and not tensor.is_floating_point():
            raise ValueError(
                f"{name} has numbers of type {_kind(tensor)}, the model needs floating-point ones: are the weights "
                "quantised? Save them as float where they were made"
            )


def transfer(pretrained: Weights, model: nn.Module) -> dict[str, Tensor]:
    """Start a model from pre-trained weights: all of them but the head, which stays the model's own.

    The head of a model of language is its vocabulary and no task's, so that it comes along where it is in the weights.

    Args:
        pretrained: weights of the same network with a head for any number of classes.
        model: the target model with its fresh head; it is left as it is.

    Returns:
        Full weights for `model`, all copies, in the model's dtypes and on its devices. Names are brought into line with
        the model's as `named_as` does.
    """
    found, _ = named_as(model, pretrained)
    fit_weights(model, found, except_head=True)
    own = model.state_dict()
    head = _head_keys(model, set(own))
    if says_tokens(model):
        head = {name for name in head if name not in found or found[name].shape != own[name].shape}
    return {
        name: tensor.clone() if name in head or name not in found else found[name].to(tensor, copy=True)
        for name, tensor in own.items()
        if isinstance(tensor, Tensor)
    }


def complete(model: nn.Module, weights: Weights) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Give all of a model's tensors from weights of the same network, its head included.

    Args:
        model: the network; it is left as it is.
        weights: as they were read; names are brought into line with the model's as `named_as` does.

    Returns:
        Full weights in the model's dtypes, and the names in the file that the model has no use for. What a file may
        lack (counters of BatchNorm) is the model's own.

    Raises:
        ValueError: if they do not fit, with what is missing or of another shape.
    """
    found, beside = named_as(model, weights)
    fit_weights(model, found)
    own = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    full = {name: found[name].to(tensor) if name in found else tensor.clone() for name, tensor in own.items()}
    return full, beside


def named_as(model: nn.Module, weights: Weights) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Give weights the names that a model has for them.

    Prefixes of wrappers are taken away or put before (`model.`, `net.`, `bert.`), tied tensors that the file has once
    come under all their names, tables that the model computes itself are left out, and the names of transformers' files
    become those of its networks.

    Args:
        model: the network they should go into; it is left as it is.
        weights: as they were read.

    Returns:
        Name to tensor, unchanged where nothing fits better; and the names in the file that the model has no use for.
    """
    own = model.state_dict()
    new = aligned(weights.keys(), own.keys())
    found = {new[name]: weights[name] for name in weights}
    found = _tied(model, found)
    kept = {name for name in own if isinstance(own[name], Tensor)}
    found = {name: tensor for name, tensor in found.items() if name in kept or not _computed(model, name)}
    optional = _head_keys(model, kept) | _counters(kept) | _poolers(model, kept)
    if kept - optional <= found.keys():
        # the network is all there: what the wrapper or another task has beside it is of no use
        trunk = _trunk(model)
        wrapped = {new[name] for name in weights if new[name] != name}
        outside = [n for n in found if n not in kept and ((wrapped and n not in wrapped) or not n.startswith(trunk))]
        beside = tuple(sorted(outside))
        return {name: tensor for name, tensor in found.items() if name not in beside}, beside
    read = placed(model, weights)
    if read is None or not len(kept & read[0].keys()) > len(kept & found.keys()):
        return found, ()
    return _tied(model, read[0]), read[1]


def _tied(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put a tensor that a model has under several names under each of them, if the file has it under one."""
    groups: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
    found = dict(weights)
    for names in groups.values():
        there = next((name for name in names if name in weights), None)
        if there is not None:
            found.update((name, weights[there]) for name in names if name not in weights)
    return found


def _computed(model: nn.Module, name: str) -> bool:
    """Is it a buffer that is not part of the model's weights? Older versions of a network saved it."""
    home, _, key = name.rpartition(".")
    try:
        return key in model.get_submodule(home)._non_persistent_buffers_set
    except AttributeError:  # no such submodule
        return False


def _counters(names: set[str]) -> set[str]:
    return {name for name in names if name.endswith(_COUNTER)}


def _head_keys(model: nn.Module, names: set[str]) -> set[str]:
    prefixes = tuple(f"{part}." for part in head_parts(model))
    return {name for name in names if name.startswith(prefixes)} if prefixes else set()


def _poolers(model: nn.Module, names: Collection[str]) -> set[str]:
    """What lies between trunk and head in transformers: part of the weights where they have it, else as fresh."""
    trunk = _trunk(model)
    return {name for name in names if trunk and name.startswith(f"{trunk}pooler.")}


def _trunk(model: nn.Module) -> str:
    """Prefix of what transformers calls the base of a model; empty for other models, and for the base itself."""
    key = getattr(model, "base_model_prefix", None)
    return f"{key}." if isinstance(key, str) and isinstance(getattr(model, key, None), nn.Module) else ""


def _some(word: str, names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} {word}" + (f" ({shown})" if names else "")


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shape(tensor: Tensor) -> str:
    return f"{list(tensor.shape)}"
