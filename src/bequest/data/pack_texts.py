"""How are texts made into tokens once, and read from then on?

A packed set of texts is a folder with `tokens.safetensors`, a whole number array [n, tokens] for each input of the
model, and an `index.json` like that of images, with the texts beside. The tokenizer is the model's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from bequest.data.pack import FORMAT, Packed, open_packed
from bequest.data.source import Source

Tokenise = Callable[[Sequence[str]], Mapping[str, Tensor]]


def pack_texts(source: Source, folder: Path, tokenise: Tokenise) -> Packed:
    """Make the texts of a source into tokens.

    Args:
        source: texts.
        folder: where to; created if missing.
        tokenise: from texts to `input_ids`, `attention_mask` and the like, each [texts, tokens].

    Returns:
        The packed set, opened from the folder.

    Raises:
        ValueError: if the source holds images, or a text gives no token.
    """
    texts = [record.text for record in source.records if record.text is not None]
    if not texts or len(texts) < len(source.records):
        raise ValueError(f"{source.name} holds {'images' if source.records else 'no texts'}, not texts to tokenise")
    tokens = {name: tensor.to(torch.int32).contiguous() for name, tensor in tokenise(texts).items()}
    if "attention_mask" in tokens and bool((tokens["attention_mask"].sum(1) == 0).any()):
        empty = int((tokens["attention_mask"].sum(1) == 0).nonzero()[0])
        raise ValueError(f"{source.name}: the tokenizer makes no token of {source.records[empty].name}; remove it")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tokens, folder / "tokens.safetensors")
    index: dict[str, Any] = {
        "format": FORMAT,
        "domain": source.name,
        "size": 0,
        "attribution": source.attribution,
        "classes": source.classes,
        "records": [[record.name, record.group, record.target, record.split] for record in source.records],
        "texts": texts,
    }
    (folder / "index.json").write_text(json.dumps(index, indent=0) + "\n", encoding="utf-8")
    return open_packed(folder)
