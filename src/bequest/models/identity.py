"""Which network is it that a name stands for, here and today?

Another network under the same name is another computation: a new version of timm, an edited configuration in a folder,
a changed function of one's own.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path

from bequest.models.from_transformers import hf_folder
from bequest.models.opening import BUILT_IN


def identity(name: str) -> dict[str, str]:
    """Tell what a model's name depends on.

    Args:
        name: as for `open_model`.

    Returns:
        Nothing for built-in models; the versions of the libraries that build the network; the SHA-256 of a Hugging Face
        configuration, or of the file with a function of your own.

    Raises:
        FileNotFoundError: if an `hf:` folder does not exist.
    """
    plain = name.partition("?")[0]
    family, _, rest = plain.partition(":")
    if plain in BUILT_IN:
        return {}
    if family in ("timm", "torchvision"):
        return {family: importlib.metadata.version(family)}
    if family == "hf":
        return {
            "transformers": importlib.metadata.version("transformers"),
            "config": _sha256(hf_folder(rest) / "config.json"),
        }
    spec = importlib.util.find_spec(family)
    source = Path(spec.origin) if spec is not None and spec.origin else None
    return {"code": _sha256(source)} if source is not None and source.is_file() else {}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
