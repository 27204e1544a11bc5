"""How is a folder that PEFT saved read, and merged onto its base?

Such a folder has `adapter_config.json` and `adapter_model.safetensors`, and names the model that it belongs to. Only
what is plain arithmetic on the base is merged: LoRA with its variants rsLoRA and DoRA, and layers that were trained in
full beside it. Nothing of PEFT is needed or run.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from bequest.models.from_transformers import hf_folder
from bequest.models.lazy import LazyWeights, open_plain
from bequest.weights.adapters import LowRank, adapted
from bequest.weights.algebra import Weights
from bequest.weights.naming import aligned

CONFIG = "adapter_config.json"
_FILES = ("adapter_model.safetensors", "adapter_model.bin")
MOST_ALPHA = 1e9  # chosen: far above any that is used
_PART = re.compile(r"(?P<layer>.+)\.lora_(?P<part>embedding_A|embedding_B|A|B|magnitude_vector)(\.default)?(\.weight)?")


@dataclass(frozen=True)
class Adapter:
    """What a folder of PEFT's changes in a network.

    Attributes:
        folder: where it came from.
        base: what it says that it was trained on, a folder or the name of a repository.
        changes: name of a layer to what is added to its weight.
        whole: tensors that take the place of the base's.
    """

    folder: Path
    base: str
    changes: Mapping[str, LowRank]
    whole: Mapping[str, Tensor]

    def merged(self, base: Weights) -> dict[str, Tensor]:
        """Give the weights of the network with the adapter in it.

        Args:
            base: the weights that it was trained on.

        Returns:
            New weights; tensors that the adapter leaves alone are those of the base.

        Raises:
            ValueError: if it does not belong to this base.
        """
        steps = self.steps(base.keys())
        found = {name: steps[name](tensor) if name in steps else tensor for name, tensor in base.items()}
        return found | {name: step(None) for name, step in steps.items() if name not in found}

    def steps(self, names: Collection[str]) -> dict[str, Callable[[Tensor | None], Tensor]]:
        """Say what is to be done to which tensor of the base, so that it can be done to one at a time.

        Args:
            names: of the base's tensors.

        Returns:
            Name to the function that gives the new tensor.

        Raises:
            ValueError: if the adapter changes layers that the base does not have.
        """
        targets = [f"{layer}.weight" for layer in self.changes]
        new = aligned({*targets, *self.whole}, names, replace=False)
        lost = [name for name in targets if new[name] not in names]
        if lost:
            raise ValueError(
                f"the adapter {self.folder} changes {len(lost)} tensors that its base does not have ({lost[0]}): give "
                f"the base that it was trained on ({self.base or 'it names none'}), opened as the same kind of model"
            )
        steps: dict[str, Callable[[Tensor | None], Tensor]] = {}
        for layer, change in self.changes.items():
            name = new[f"{layer}.weight"]

            own = self.whole.get(f"{layer}.weight")  # PEFT saves the table under an adapted embedding

            def step(
                weight: Tensor | None, name: str = name, change: LowRank = change, own: Tensor | None = own
            ) -> Tensor:
                start = weight if own is None else own
                assert start is not None
                try:
                    return adapted(start, change)
                except ValueError as error:
                    raise ValueError(f"the adapter {self.folder} does not fit its base: {name}: {error}") from error

            steps[name] = step
        for name, tensor in self.whole.items():
            if new[name] not in steps:
                steps[new[name]] = lambda _, tensor=tensor: tensor  # type: ignore[misc]
        return steps


def is_adapter(path: str | Path) -> bool:
    """Tell whether a path is a folder that PEFT saved."""
    return (Path(path) / CONFIG).is_file()


def read_adapter(folder: str | Path) -> Adapter:
    """Read a folder that PEFT saved.

    Args:
        folder: with `adapter_config.json` and `adapter_model.safetensors` (or `.bin`, of tensors only).

    Returns:
        What it changes.

    Raises:
        FileNotFoundError: if its weights are missing.
        ValueError: if it is damaged, or of a kind that cannot be merged.
    """
    folder = Path(folder)
    try:
        said = json.loads((folder / CONFIG).read_bytes())
        kind, alpha, base = said["peft_type"], said.get("lora_alpha", 8), said.get("base_model_name_or_path") or ""
        _check_numbers([alpha, *dict(said.get("alpha_pattern") or {}).values()])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{folder / CONFIG} is not what PEFT writes: it needs peft_type and lora_alpha, a number"
        ) from error
    if kind != "LORA":
        raise ValueError(f"{folder} is an adapter of the kind {kind}; only LORA can be merged")
    file = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"the adapter {folder} has no {_FILES[0]}")
    parts: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    for name, tensor in open_plain(file).in_memory().items():
        own = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
        match = _PART.fullmatch(own)
        if match:
            parts.setdefault(match["layer"], {})[match["part"]] = tensor
        elif "lora_" in own or "trainable_tokens" in own:
            raise ValueError(f"{file} holds {name}, which is of no kind of adapter that can be merged")
        else:
            whole[own.replace(".modules_to_save.default.", ".").replace(".modules_to_save.", ".")] = tensor
    if not parts:
        raise ValueError(f"{file} holds no LoRA matrices")
    changes = {layer: _low_rank(file, layer, found, said, alpha) for layer, found in parts.items()}
    return Adapter(folder, str(base), changes, whole)


def open_merged(folder: str | Path, base: str | Path | None = None) -> LazyWeights:
    """Open an adapter on its base, a tensor at a time.

    Args:
        folder: that PEFT saved.
        base: path of the weights that it was trained on; None for what the adapter names.

    Returns:
        The base's weights with the adapter merged in, each read and changed when it is asked for.

    Raises:
        FileNotFoundError: if the base is not on this machine.
        ValueError: if the adapter does not belong to the base.
    """
    adapter = read_adapter(folder)
    return open_plain(base or base_of(adapter)).changed(adapter.steps)


def base_of(adapter: Adapter) -> Path:
    """Find the weights that an adapter says that it was trained on; nothing is downloaded.

    Args:
        adapter: what was read.

    Returns:
        A folder or file.

    Raises:
        FileNotFoundError: if it names none, or one that is not on this machine.
    """
    for place in (Path(adapter.base), adapter.folder / adapter.base):
        if adapter.base and place.exists():
            return place
    try:
        return hf_folder(adapter.base)
    except (FileNotFoundError, ValueError) as error:
        raise FileNotFoundError(
            f"the adapter {adapter.folder} was trained on {adapter.base or '(it does not say what)'}, which is not on "
            "this machine; give the path of the base"
        ) from error


def _check_numbers(values: Iterable[object]) -> None:
    if not all(isinstance(value, int | float) and abs(value) < MOST_ALPHA for value in values):  # NaN is not below
        raise TypeError("alpha is a number")


def _low_rank(file: Path, layer: str, found: Mapping[str, Tensor], said: Mapping[str, Any], alpha: float) -> LowRank:
    embedding = "embedding_A" in found
    a, b = (found.get(f"embedding_{part}" if embedding else part) for part in "AB")
    if a is None or b is None:
        raise ValueError(f"{file} is damaged: {layer} has only one of its two matrices")
    if not a.numel() or a.dim() < 2:
        raise ValueError(f"{file} is damaged: {layer} of this adapter has an empty matrix, or one of a single axis")
    for pattern, own in (said.get("alpha_pattern") or {}).items():
        if layer == pattern or layer.endswith(f".{pattern}") or _matches(pattern, layer):
            alpha = own
            break
    rank = a.shape[0]
    scale = alpha / (math.sqrt(rank) if said.get("use_rslora") else rank)
    transposed = embedding or bool(said.get("fan_in_fan_out"))
    return LowRank(a, b, scale, transposed, found.get("magnitude_vector"))


def _matches(pattern: str, layer: str) -> bool:
    try:
        return re.fullmatch(rf"(.*\.)?({pattern})", layer) is not None
    except re.error:
        return False
