"""What does a model of someone else's expect its inputs to look like?

Weights only mean what they meant on inputs that were made in the same way. timm and torchvision carry that with the
name of the weights, Hugging Face in a file beside them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bequest.models.from_timm import load_timm
from bequest.models.from_torchvision import load_torchvision
from bequest.models.from_transformers import hf_folder, load_transformers, quiet
from bequest.models.record import opening_of

Channels = tuple[float, float, float]
_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # PIL's numbers
_TOKENIZERS = ("tokenizer*", "vocab*", "merges.txt", "*.model", "*.tiktoken")


@dataclass(frozen=True)
class Preprocessing:
    """How images become inputs.

    Attributes:
        size: height and width of the input, in pixels.
        mean: of each channel, of images in 0..1.
        std: likewise; the input is (image - mean) / std.
        interpolation: `nearest`, `bilinear`, `bicubic`, …
        crop: share of the resized image that is kept, around its middle; 1 for all of it.
    """

    size: tuple[int, int]
    mean: Channels
    std: Channels
    interpolation: str
    crop: float = 1.0


def preprocessing(model: str | nn.Module) -> Preprocessing | None:
    """Find the preprocessing that a model's published weights were trained with.

    Args:
        model: a name as for `open_model`, or a model that it or timm has made.

    Returns:
        The preprocessing; None if nothing is known of it (built-in models, functions of your own, text).

    Raises:
        ValueError: if the file that says it is damaged.
        FileNotFoundError: if an `hf:` folder does not exist.
    """
    if isinstance(model, nn.Module):
        opened = opening_of(model)
        if opened is not None:
            return preprocessing(opened.name)
        told = getattr(model, "pretrained_cfg", None)
        return _of_timm(told) if isinstance(told, Mapping) else None
    family, _, rest = model.partition(":")
    name, _, asked = rest.partition("?")
    found = None
    if family == "timm":
        cfg = load_timm().get_pretrained_cfg(name)
        found = None if cfg is None else _of_timm(cfg.to_dict())
    elif family == "torchvision":
        found = _of_torchvision(name)
    elif family == "hf":
        path = hf_folder(name) / "preprocessor_config.json"
        found = _of_hugging_face(path) if path.is_file() else None
    own = re.search(r"(?:^|&)(?:img_size|image_size)=(\d+)", asked)  # the network was asked for at another size
    return replace(found, size=(int(own[1]), int(own[1]))) if found and own else found


def tokenizer_files(name: str) -> list[Path]:
    """Give the files of the tokenizer that lies beside `hf:FOLDER_OR_NAME`, in order of their names."""
    folder = hf_folder(name.partition(":")[2].partition("?")[0])
    return sorted({file for pattern in _TOKENIZERS for file in folder.glob(pattern)})


def tokenizer(name: str, *, longest: int | None = None) -> Callable[[Sequence[str]], dict[str, Tensor]]:
    """Find the tokenizer that lies beside a Hugging Face model.

    Args:
        name: `hf:FOLDER_OR_NAME`.
        longest: tokens at most; None for as many as the tokenizer says that the model takes.

    Returns:
        A function from texts to `input_ids`, `attention_mask` and the like, each [texts, tokens], padded to the longest
        text.

    Raises:
        ValueError: if the name is of another family, or no tokenizer lies there.
    """
    family, _, rest = name.partition(":")
    if family != "hf":
        raise ValueError(f"{name!r} has no tokenizer; hf:FOLDER_OR_NAME has")
    transformers = load_transformers()
    folder = hf_folder(rest.partition("?")[0])
    if not tokenizer_files(name):
        raise ValueError(f"no tokenizer lies in {folder}; save it there beside the model")  # else an empty one is made
    with quiet(transformers):
        try:
            found = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # many kinds for files that are missing or damaged
            raise ValueError(f"no tokenizer can be read from {folder}: {str(error).splitlines()[0]}") from error
    if found.pad_token is None:
        found.pad_token = found.eos_token or found.unk_token

    def tokenise(texts: Sequence[str]) -> dict[str, Tensor]:
        limit = longest or (found.model_max_length if found.model_max_length < 10**6 else None)
        made = found(list(texts), padding=True, truncation=limit is not None, max_length=limit, return_tensors="pt")
        return dict(made)

    return tokenise


def _of_timm(cfg: Mapping[str, Any]) -> Preprocessing | None:
    size, mean, std = cfg.get("input_size"), cfg.get("mean"), cfg.get("std")
    if not (size and mean and std) or len(mean) != 3:
        return None
    return Preprocessing(
        (size[1], size[2]), tuple(mean), tuple(std), cfg.get("interpolation") or "bilinear", cfg.get("crop_pct") or 1.0
    )


def _of_torchvision(name: str) -> Preprocessing | None:
    models = load_torchvision().models
    if name not in models.list_models(module=models):
        return None
    made = models.get_model_weights(name).DEFAULT.transforms()
    size = made.crop_size[0]
    crop = size / made.resize_size[0]
    return Preprocessing((size, size), tuple(made.mean), tuple(made.std), made.interpolation.value, crop)


def _of_hugging_face(path: Path) -> Preprocessing | None:
    try:
        said = json.loads(path.read_bytes())
        size, cut = _sides(said.get("size")), _sides(said.get("crop_size"))
        if size is None:
            return None
        crops = cut is not None and said.get("do_center_crop", True)
        share = said.get("crop_pct") or (min(1.0, cut[0] / size[0]) if crops and cut else 1.0)
        scale = said.get("rescale_factor", 1 / 255) * 255 if said.get("do_rescale", True) else 255.0
        plain = not said.get("do_normalize", True)
        mean = [0.0] * 3 if plain else said.get("image_mean", [0.5] * 3)
        std = [1.0] * 3 if plain else said.get("image_std", [0.5] * 3)
        return Preprocessing(
            cut if crops and cut else size,
            (mean[0] / scale, mean[1] / scale, mean[2] / scale),
            (std[0] / scale, std[1] / scale, std[2] / scale),
            _RESAMPLING.get(said.get("resample", 2), "bilinear"),
            float(share),
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} does not say how images are prepared: {error}") from error


def _sides(size: Any) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping):
        side = size.get("shortest_edge")
        if side is not None:
            return int(side), int(side)
        if "height" in size and "width" in size:
            return int(size["height"]), int(size["width"])
    return None
