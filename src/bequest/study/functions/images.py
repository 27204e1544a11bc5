"""How does a step read images: draw a domain once, and open it again?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bequest.data.batches import Batches, Stored, batches, take_shots, to_tensor, to_tokens
from bequest.data.calibration import with_calibration
from bequest.data.decode import Reduction
from bequest.data.doors import open_source
from bequest.data.pack import Packed, open_packed, pack
from bequest.data.pack_texts import pack_texts
from bequest.data.source import Source, content
from bequest.evaluation.batches import Batches as AnyBatches
from bequest.evaluation.tasks import Task, task
from bequest.models.preprocessing import tokenizer
from bequest.study.step import Context
from bequest.study.store import Artefact
from bequest.training.shuffling import Shuffle, ShuffledBatches

EVALUATION_BATCH = 256
MOST_TOKENS = 4096  # in a batch of language, whose outputs are a number for each token and word of the vocabulary
IN_MEMORY = 4 * 2**30  # bytes of training images that are read whole; more of them stay in their arrays


def draw(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Read or draw all images of a domain into one packed array.

    Args:
        folder: gets the array and its index.
        arguments: `door`, maybe `calibration`, another door, `size` in pixels, maybe `interpolation` and `crop`, and
            `content`, the hash of what is read.
        inputs: none.
        context: workers, progress.
    """
    pack(
        _opened(arguments),
        folder,
        size=arguments["size"],
        reduction=Reduction(arguments.get("interpolation", "lanczos"), arguments.get("crop", 1.0)),
        workers=context.workers,
        progress=lambda done, all_: context.tell(done / all_),
    )


def tokenise(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Make all texts of a domain into tokens of the model's own tokenizer.

    Args:
        folder: gets the tokens and their index.
        arguments: `door`, maybe `calibration`, `model`, by whose name the tokenizer is found, and `content`, the hash
            of what is read; `tokenizer` (likewise) is only there for the key.
        inputs: none.
        context: unused.
    """
    pack_texts(_opened(arguments), folder, tokenizer(arguments["model"]))


def _opened(arguments: Mapping[str, Any]) -> Source:
    """Open a domain, which has to hold what it held when the step got its key."""
    source = open_source(arguments["door"])
    if "calibration" in arguments:
        source = with_calibration(source, open_source(arguments["calibration"]))
    if content(source) != arguments["content"]:
        raise ValueError(f"{arguments['door']} has changed since the run began; run the study again")
    return source


def packed_inputs(inputs: Mapping[str, Artefact]) -> list[Packed]:
    """Open the domains among the inputs of a step: those named `images` or `images/…`, in order."""
    return [open_packed(inputs[name].folder) for name in sorted(inputs) if name.split("/")[0] == "images"]


def chosen(packed: Packed, split: str, arguments: Mapping[str, Any]) -> Tensor:
    """Give the indices of a split; of the training split only the shots that the arguments ask for."""
    shots = arguments.get("shots")
    if split == "train" and shots is not None:
        return take_shots(packed, shots, seed=arguments["shots_seed"])
    return packed.indices(split)


def evaluation_batches(packed: Packed, split: str, arguments: Mapping[str, Any], size: int = 0) -> Batches:
    """Give the images of a split in fixed order, normalised, without augmentation."""
    return _in_order(packed, chosen(packed, split, arguments), arguments, size or _evaluation_batch(packed))


def _in_order(packed: Packed, indices: Tensor, arguments: Mapping[str, Any], size: int) -> Batches:
    normalise = (tuple(arguments["mean"]), tuple(arguments["std"]))
    return batches(packed, indices, batch_size=size, normalise=normalise)


def _evaluation_batch(packed: Packed) -> int:
    return EVALUATION_BATCH if packed.classes else max(1, MOST_TOKENS // packed.targets.shape[1])


def task_of(arguments: Mapping[str, Any]) -> Task:
    """Give the task that a step's data set."""
    return task(arguments.get("task", "classification"))


def shuffle_of(arguments: Mapping[str, Any]) -> Shuffle | None:
    """Give the shuffle through which a run sees its images, if it has one."""
    asked = arguments.get("shuffle")
    return Shuffle(asked["block_size"], asked["mode"], asked["seed"]) if asked else None


def seen_batches(packed: Packed, split: str, arguments: Mapping[str, Any]) -> AnyBatches:
    """Give the images of a split as a run sees them: with their blocks shuffled, where it has a shuffle."""
    plain, shuffle = evaluation_batches(packed, split, arguments), shuffle_of(arguments)
    return ShuffledBatches(plain, shuffle, split) if shuffle else plain


def seen_part(packed: Packed, split: str, arguments: Mapping[str, Any], rank: int, processes: int) -> AnyBatches | None:
    """Give every so-manyth of the batches that `seen_batches` gives: of `processes`, those of number `rank`.

    Args:
        packed: the images.
        split: which.
        arguments: see `seen_batches`.
        rank: number of the process, from 0.
        processes: how many there are.

    Returns:
        The same batches as one process sees; None if there are fewer than processes and none is left for this one.
    """
    indices, shuffle = chosen(packed, split, arguments), shuffle_of(arguments)
    own = torch.arange(len(indices)).split(_evaluation_batch(packed))[rank::processes]
    if not own:
        return None
    places = torch.cat(own)
    plain = _in_order(packed, indices[places], arguments, _evaluation_batch(packed))
    return ShuffledBatches(plain, shuffle, split, places) if shuffle else plain


def joined(
    domains: list[Packed], split: str, arguments: Mapping[str, Any], most: int = IN_MEMORY
) -> tuple[Tensor | Stored | dict[str, Tensor], Tensor]:
    """Join a split of several domains of the same classes.

    Args:
        domains: at least one.
        split: which.
        arguments: see `chosen`.
        most: bytes of images that may be read into memory.

    Returns:
        Images uint8 [N, 3, H, W], in memory or stored, or tokens of texts by name, int64 [N, T]; and targets [N, …].

    Raises:
        ValueError: if the domains have different classes.
    """
    for other in domains[1:]:
        if other.classes != domains[0].classes:
            raise ValueError(
                f"domains that are pre-trained on together need the same classes: {domains[0].domain} has "
                f"{len(domains[0].classes)}, {other.domain} has {len(other.classes)}, or others by name"
            )
    parts = [(domain, chosen(domain, split, arguments)) for domain in domains]
    targets = torch.cat([domain.targets[indices] for domain, indices in parts])
    if domains[0].tokens:
        if len(domains) > 1:
            raise ValueError("texts are learned from one domain at a time; give one")
        return to_tokens(*parts[0]), targets
    stored = Stored(parts)
    whole = stored.shape.numel() <= most
    images = torch.cat([to_tensor(domain, indices) for domain, indices in parts]) if whole else stored
    return images, targets
