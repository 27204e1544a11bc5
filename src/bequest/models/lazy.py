"""How are weights walked that are larger than the memory?

Opening reads where the tensors are; each comes from the disk when it is asked for and goes when it is let go.
So two sharded checkpoints of any size are compared with the memory of their two largest tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from torch import Tensor

from bequest.models.entries import Entry, MappedFile, contiguous, safetensors_entries
from bequest.models.pickles import PICKLED, pickled_weights
from bequest.models.reading_pieces import read_pieces
from bequest.weights.naming import unwrapped

LONGEST_NAME = 255  # characters of a file's name
Step = Callable[[Tensor | None], Tensor]


class LazyWeights(Mapping[str, Tensor]):
    """Weights whose tensors are read when they are asked for.

    Attributes:
        shapes: name to shape, known without reading.
        sizes: name to bytes, known without reading.
        dtypes: name to type of the numbers, known without reading.
    """

    def __init__(self, places: Mapping[str, Entry | Tensor], steps: Mapping[str, Step] | None = None) -> None:
        """Take the places of tensors; a tensor in place of one is given as it is.

        Args:
            places: name to where the tensor is.
            steps: name to what is done to the tensor when it is read.
        """
        self._places = dict(places)
        self._steps = dict(steps or {})
        self._files: dict[Path, MappedFile] = {}
        self.shapes = {name: tuple(place.shape) for name, place in places.items()}
        self.sizes = {name: place.nbytes for name, place in places.items()}
        self.dtypes = {name: place.dtype for name, place in places.items()}

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._read(name)
        return self._steps[name](tensor) if name in self._steps else tensor

    def _read(self, name: str) -> Tensor:
        place = self._places[name]
        if isinstance(place, Tensor):
            return place
        if place.file not in self._files:
            self._files[place.file] = MappedFile(place.file)
        return self._files[place.file].read(place)

    def __contains__(self, name: object) -> bool:
        return name in self._places  # Mapping's own would read the tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def pieces(self, name: str, entries: int) -> Iterator[Tensor]:
        """Give one tensor piece by piece, so that it is never in memory as a whole.

        Args:
            name: of the tensor.
            entries: of a piece.

        Yields:
            Tensors [entries], in order, the last one shorter; a piece may be overwritten when the next is asked for. A
            tensor that is changed when it is read, or not contiguous, is read as a whole.
        """
        place = self._places[name]
        if isinstance(place, Tensor) or name in self._steps or place.stride != contiguous(place.shape):
            yield from self[name].detach().reshape(-1).split(entries)
        else:
            yield from read_pieces(place, entries)

    def changed(self, steps: Callable[[Collection[str]], Mapping[str, Step]]) -> LazyWeights:
        """Give the same weights with something done to some of them when they are read.

        Args:
            steps: gives, for the names there are, name to what is done; a name that is new gets nothing to start from.

        Returns:
            New weights; a tensor that is new is in memory.
        """
        wanted = steps(self._places.keys())
        added = {name: step(None) for name, step in wanted.items() if name not in self._places}
        old = {name: step for name, step in wanted.items() if name in self._places}
        return LazyWeights({**self._places, **added}, {**self._steps, **old})

    def renamed(self, new: Mapping[str, str]) -> LazyWeights:
        """Give the same weights under other names.

        Args:
            new: old name to new name, one to one, for all of them.

        Returns:
            New weights.
        """
        steps = {new[name]: step for name, step in self._steps.items()}
        return LazyWeights({new[name]: place for name, place in self._places.items()}, steps)

    def repeated(self) -> dict[str, str]:
        """Give the names of tied tensors, each with the name that the same place in a file had before."""
        first: dict[Entry, str] = {}
        found: dict[str, str] = {}
        for name, place in self._places.items():
            if isinstance(place, Entry) and name not in self._steps and place.extent:
                if place in first:
                    found[name] = first[place]
                first.setdefault(place, name)
        return found

    def in_memory(self) -> dict[str, Tensor]:
        """Give all tensors as copies that need the file no more; tied tensors stay one."""
        seen: dict[Entry, Tensor] = {}
        found: dict[str, Tensor] = {}
        for name, place in self._places.items():
            if isinstance(place, Tensor) or name in self._steps:
                found[name] = self[name]
                continue
            if place not in seen:
                seen[place] = self[name].clone()
            found[name] = seen[place]
        return found


def open_plain(path: str | Path, *, nest: str | None = None, trust_pickle: bool = False) -> LazyWeights:
    """Open weights without reading them; nothing in the file is run.

    Args:
        path: a `.safetensors` file; a `*.index.json` of a sharded one, or a folder with either; or a `.pt`, `.pth`,
            `.bin` or `.ckpt` file with a state dict, bare or under `state_dict`, `model`, `ema` and the like.
        nest: under which name the state dict of a pickled file lies, where there are several (`model` and `ema`).
        trust_pickle: run what a pickled file wants to run. Only for files that you made.

    Returns:
        Name to tensor, each read when it is asked for, on the CPU; the files must stay as they are meanwhile. What
        DataParallel and torch.compile put into the names is taken away.

    Raises:
        FileNotFoundError: if the file or one of its shards does not exist.
        ValueError: if it is damaged, of an unknown kind, wants to run code, holds no weights, or tensors that claim to
            be larger than the file.
    """
    path = Path(path)
    if path.is_dir():
        path = _inside(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: there is no such file")
    sharded = path.name.endswith(".index.json")
    places = _shards(path, nest, trust_pickle) if sharded else _one(path, nest, trust_pickle)
    if not places:
        raise ValueError(f"{path} holds no weights")
    new = unwrapped(places)
    return LazyWeights({new[name]: place for name, place in places.items()})


def _inside(folder: Path) -> Path:
    patterns = ("*.safetensors.index.json", "*.index.json", "model.safetensors", "*.safetensors", "pytorch_model.bin")
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if len(found) == 1:
            return found[0]
    raise FileNotFoundError(
        f"the folder {folder} needs one *.index.json or one .safetensors file to say where its weights are; "
        "or give the path of a file"
    )


def _shards(index: Path, nest: str | None, trust: bool) -> dict[str, Entry | Tensor]:
    try:
        where = {name: str(Path(file)) for name, file in json.loads(index.read_bytes())["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{index} is not an index of shards: it needs a weight_map of tensor to file") from error
    places: dict[str, Entry | Tensor] = {}
    for shard in sorted(set(where.values())):
        if shard == ".." or Path(shard).name != shard or len(shard) > LONGEST_NAME:
            raise ValueError(f"{index} names the shard {shard[:80]!r}, which is outside its folder: not read")
        if not (index.parent / shard).is_file():
            raise FileNotFoundError(f"the shard {shard} that {index} names is missing")
        tensors = _one(index.parent / shard, nest, trust)
        wanted = [name for name, file in where.items() if file == shard]
        lost = [name for name in wanted if name not in tensors]
        if lost:
            raise ValueError(f"the shard {index.parent / shard} lacks {lost[0]}, which {index.name} promises")
        places.update((name, tensors[name]) for name in wanted)
    return places


def _one(path: Path, nest: str | None, trust: bool) -> Mapping[str, Entry | Tensor]:
    if path.suffix == ".safetensors":
        return safetensors_entries(path)
    if path.suffix in PICKLED:
        return pickled_weights(path, nest=nest, trust=trust)
    raise ValueError(f"cannot read {path}: expected .safetensors, *.index.json or {', '.join(PICKLED)}")
