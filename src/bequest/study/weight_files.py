"""Which bytes do weights come from, where they are several files?"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from bequest.study.store import file_hash


def content_hash(path: Path) -> str:
    """Give the SHA-256 of weights: of the file, or of the index and its shards, or of all files of a folder.

    Args:
        path: a file or folder that can be read as weights.

    Returns:
        In hexadecimal digits; where the files lie does not enter it.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
    elif path.name.endswith(".index.json"):
        shards = json.loads(path.read_bytes())["weight_map"].values()
        files = [path, *(path.parent / shard for shard in sorted(set(shards)))]
    else:
        return file_hash(path)
    joined = "\n".join(f"{file.name} {file_hash(file)}" for file in files)
    return hashlib.sha256(joined.encode()).hexdigest()
