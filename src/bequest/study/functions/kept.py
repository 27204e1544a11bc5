"""Are the checkpoints of an interrupted training still those that it wrote?

Each is written with its hash beside it. A training that goes on takes what the earlier try left as it lies there, and
the hashes of a result are made when it is done: a bit that flipped in between would be signed as sound.
"""

from __future__ import annotations

import json
from pathlib import Path

from bequest.models.files import write_weights
from bequest.study.store import file_hash, write_whole
from bequest.weights.algebra import Weights

HASHES, STATE = "kept.json", "state.safetensors"
STATE_EVERY = 1.0  # seconds; chosen: a short epoch would take a tenth longer to be written, and loses next to nothing


class Kept:
    """The checkpoints in a run's folder.

    Args:
        folder: of the step; gets `checkpoints/NAME.safetensors`. If what an earlier try left there is not what it
            wrote, its state is removed, so that the training starts afresh.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "checkpoints").mkdir(exist_ok=True)
        try:
            self._hashes = {str(name): str(digest) for name, digest in json.loads(self._list.read_bytes()).items()}
            sound = all(file_hash(self._place(name)) == digest for name, digest in self._hashes.items())
        except (OSError, ValueError, AttributeError, RecursionError):
            sound = False
        if not sound:
            self._hashes = {}
            self.state.unlink(missing_ok=True)

    @property
    def state(self) -> Path:
        """The file that the training goes on from."""
        return self._folder / STATE

    def keep(self, name: str, weights: Weights) -> None:
        """Write a checkpoint and its hash."""
        write_weights(weights, self._place(name))
        self._hashes[name] = file_hash(self._place(name))
        write_whole(self._list, json.dumps(self._hashes))

    def done(self) -> None:
        """Remove what only a training that goes on needs."""
        self.state.unlink(missing_ok=True)
        self._list.unlink(missing_ok=True)

    @property
    def _list(self) -> Path:
        return self._folder / HASHES

    def _place(self, name: str) -> Path:
        return self._folder / "checkpoints" / f"{name}.safetensors"
