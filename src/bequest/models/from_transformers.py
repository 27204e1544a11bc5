"""How is a Hugging Face model built from a folder, and how are its files read?

Only what is on this machine is used: a folder, or a repository in the local cache. Code that lies beside a model is
never run. The names in the files are not always those of the network (transformers renames while it reads), so its own
reader puts weights into place where they do not fit as they are; it is handed tensors, never files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bequest.models.packages import package_path
from bequest.models.published import imported
from bequest.weights.algebra import Weights

_KINDS = {
    "ImageClassification": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING",
    "SequenceClassification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    "CausalLM": "MODEL_FOR_CAUSAL_LM_MAPPING",
}


def hf_model(name: str, classes: int | None, options: Mapping[str, Any]) -> nn.Module:
    """Build a network from its configuration, with drawn weights.

    Args:
        name: a folder with a `config.json`, or the name of a repository that is in the local cache.
        classes: outputs of a classifier; its own number if None. With a number, a causal language model becomes a
            sequence classifier.
        options: more entries of the configuration.

    Returns:
        The network in float32, in training mode.

    Raises:
        ValueError: if it is of no kind that is supported, or wants to run code of its own.
    """
    transformers = load_transformers()
    folder = hf_folder(name)
    if "auto_map" in (folder / "config.json").read_text(encoding="utf-8", errors="replace"):
        raise ValueError(f"hf:{name} wants to run code that lies beside it (auto_map in its config.json): not opened")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers takes what it finds there for what it should be
        raise ValueError(f"{folder / 'config.json'} cannot be read: {_first_line(error)}") from error
    for key, value in options.items():
        setattr(config, key, value)
    if classes is not None:
        config.num_labels = classes
    if hasattr(config, "use_cache"):
        config.use_cache = False  # what generation keeps is of no use here, and holds memory
    kind = _kind(transformers, config, name, classes)
    if kind == "SequenceClassification" and getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = 0  # decoders look for the last token that is not padding
    try:
        with quiet(transformers):
            model = getattr(transformers, f"AutoModelFor{kind}").from_config(config, dtype=torch.float32)
    except Exception as error:  # likewise
        raise ValueError(f"no network can be built from {folder / 'config.json'}: {_first_line(error)}") from error
    assert isinstance(model, nn.Module)
    return model.train()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def hf_folder(name: str) -> Path:
    """Find the folder of a model: itself, or its place in the local cache; nothing is downloaded.

    Args:
        name: a folder, `package:NAME/FOLDER` for one inside an installed package, or the name of a repository.

    Returns:
        The folder that holds `config.json`.

    Raises:
        FileNotFoundError: if there is no such folder and nothing of that name in the cache.
    """
    folder = package_path(name)
    if folder.is_dir():
        if (folder / "config.json").is_file():
            return folder
        hint = ": it is an adapter, so open its base and give the folder as weights"
        hint = hint if (folder / "adapter_config.json").is_file() else " to build the model from"
        raise FileNotFoundError(f"the folder {folder} has no config.json{hint}")
    load_transformers()
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        cached = None
    if not isinstance(cached, str):
        raise FileNotFoundError(
            f"hf:{name}: there is no such folder, and no repository of that name in the local cache. Nothing is "
            f"downloaded here: `hf download {name}` fetches it, or give the path of a folder"
        )
    return Path(cached).parent


def placed(model: nn.Module, weights: Weights) -> tuple[dict[str, Tensor], tuple[str, ...]] | None:
    """Let transformers find which tensor of a file is which of the network.

    Args:
        model: any network; it is left as it is.
        weights: name to tensor, as in the file.

    Returns:
        The network's names to the tensors found for them, and the names in the file that it has no use for; None if the
        network is not one of transformers.
    """
    own_reader: Any = getattr(type(model), "from_pretrained", None)
    if own_reader is None or not hasattr(model, "base_model_prefix"):
        return None
    transformers = load_transformers()
    with quiet(transformers), torch.random.fork_rng(devices=[]):  # what is missing is drawn, and thrown away here
        new, said = own_reader(
            None,
            config=model.config,
            state_dict=dict(weights),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
    lost = {*said["missing_keys"], *(each[0] for each in said["mismatched_keys"])}
    own = new.state_dict()
    shared = [name for name in own if name not in lost]
    return {name: own[name] for name in shared}, tuple(sorted(said["unexpected_keys"]))


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """No progress bars and reports from transformers; its settings come back on exit."""
    logs = transformers.utils.logging
    level, bars = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if bars:
            logs.enable_progress_bar()


def load_transformers() -> Any:
    """Import transformers.

    Returns:
        The package.

    Raises:
        ValueError: if it is not installed or does not import.
    """
    return imported("transformers", door="hf", extra="transformers")


def _kind(transformers: Any, config: Any, name: str, classes: int | None) -> str:
    said = (getattr(config, "architectures", None) or [""])[0]
    there = [kind for kind, mapping in _KINDS.items() if type(config) in getattr(transformers, mapping)]
    for kind in there:
        if said.endswith(f"For{kind}") or (kind == "CausalLM" and said.endswith("LMHeadModel")):
            if kind == "CausalLM" and classes is not None and "SequenceClassification" in there:
                return "SequenceClassification"
            return kind
    if not there:
        raise ValueError(
            f"hf:{name} is a {config.model_type}, which transformers builds neither as an image classifier, a sequence "
            "classifier nor a causal language model; give a function of your own, as package.module:function"
        )
    return there[0]  # a trunk, or a model of another task: a fresh classifier goes on top
