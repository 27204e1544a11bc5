"""What can be said of checkpoints without a network and without data?

Distances, cosines, changed entries and spectra, from files that are read once, piece by piece: of each tensor only the
pieces at hand are in memory. What is not in all files, or of another shape, is left out and named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bequest.analyses.changes import changes
from bequest.analyses.distance import distances_of
from bequest.analyses.pairs import PRETRAINED
from bequest.analyses.result import Result
from bequest.analyses.spectrum import spectrum
from bequest.evaluation.tally import added, tally
from bequest.models.files import open_weights
from bequest.models.lazy import LazyWeights
from bequest.study.comparing import names_of
from bequest.weights.modules import Module
from bequest.weights.named_modules import STATISTICS, named_modules
from bequest.weights.naming import aligned

LARGEST = 1 << 22  # entries of a matrix that is decomposed; chosen: 32 MiB in float64
WIDEST = 1024  # its smaller side; chosen: under a second each on one core
COST = 40 * WIDEST**3  # sum of the cubes of the smaller sides; chosen: about half a minute a file on one core
SAME_NETWORK = 0.5  # share of the parameters of the smaller file that has to be in all


@dataclass(frozen=True)
class Alone:
    """What was measured.

    Attributes:
        members: names, the base first if there is one.
        modules: names of the modules, by the names of the tensors.
        results: by name of the analysis.
        left_out: what was not compared, and why.
        read: bytes of the tensors that were compared, in all files.
    """

    members: tuple[str, ...]
    modules: tuple[str, ...]
    results: Mapping[str, Result]
    left_out: tuple[tuple[str, str], ...]
    read: int


def measure_weights(
    files: Sequence[Path],
    *,
    base: Path | None = None,
    trust_pickle: bool = False,
    tell: Callable[[float], None] = lambda share: None,
) -> Alone:
    """Compare files of weights, without a network.

    Args:
        files: two or more, or one beside a base; as for `bequest.open_weights`.
        base: the weights that all of them started from; adapters are merged onto it.
        trust_pickle: run what a pickled file wants to run. Only for files that you made.
        tell: told the share of the work that is done.

    Returns:
        The results.

    Raises:
        ValueError: if there is nothing to compare, two files are of different networks, or an entry is not finite.
        FileNotFoundError: if a file does not exist.
    """
    if len(files) + (base is not None) < 2:
        raise ValueError("one file alone has nothing to be compared with; name another one, or a --base")
    opened = _opened(files, base, trust_pickle)
    members = list(opened)
    chosen, left_out = _in_all(opened)
    first = opened[members[0]]
    units = [
        Module(unit.name, kept)
        for unit in named_modules({name: first.shapes[name] for name in chosen})
        if (kept := tuple(name for name in unit.parameters if name in chosen))
    ]
    start = PRETRAINED if base is not None else None
    total, done = sum(first.sizes[name] for name in chosen), 0
    counted = {}
    threads = max(1, min(4, torch.get_num_threads()))
    with ThreadPoolExecutor(2 * threads) as workers:  # while half of them wait for the disk
        every = [name for unit in units for name in unit.parameters]
        found = workers.map(lambda name: tally(opened, name, start=start), every)
        for unit in units:
            counted[unit.name] = added([next(found) for _ in unit.parameters])
            done += sum(first.sizes[name] for name in unit.parameters)
            tell(0.9 * done / max(1, total))
    note = "; ".join(f"{what}: {why}" for what, why in left_out) or None
    results = {
        "distance": distances_of(counted, members, start=start, note=note),
        "changes": changes(counted, members, start=start, note=note),
    }
    matrices, skipped = _decomposable(first, units)
    left_out += skipped
    if matrices:
        seen = {name: _Some(weights, matrices) for name, weights in opened.items()}
        initial = {name: seen[PRETRAINED] for name in members if name != start} if start else None
        results["spectrum"] = spectrum(seen, modules=units, initial=initial)
    tell(1.0)
    read = sum(weights.sizes[name] for weights in opened.values() for name in chosen)
    return Alone(tuple(members), tuple(unit.name for unit in units), results, tuple(left_out), read)


def _opened(files: Sequence[Path], base: Path | None, trust: bool) -> dict[str, LazyWeights]:
    """The files by the name of their arm, with the tensors' names as in the first one."""
    arm = "model" if base is None else "finetune"
    paths = {PRETRAINED: base} if base is not None else {}
    paths |= {f"{arm}/{name}": path for name, path in zip(names_of(files), files, strict=True)}
    opened: dict[str, LazyWeights] = {}
    for name, path in paths.items():
        weights = open_weights(path, base=base, trust_pickle=trust)
        if opened:
            wanted = next(iter(opened.values()))
            if weights.keys() != wanted.keys():
                weights = weights.renamed(aligned(weights.keys(), wanted.keys()))
        opened[name] = weights
    return opened


def _in_all(opened: Mapping[str, LazyWeights]) -> tuple[set[str], list[tuple[str, str]]]:
    """Parameters that all files have in one shape, and what else there is."""
    first_name, first = next(iter(opened.items()))
    every = [*dict.fromkeys(name for weights in opened.values() for name in weights)]
    tied = first.repeated()
    chosen: set[str] = set()
    why: dict[str, list[str]] = {}
    for name in every:
        lacking = [member for member, weights in opened.items() if name not in weights]
        if name.rpartition(".")[2] in STATISTICS:
            why.setdefault("statistics of BatchNorm, which are no parameters", []).append(name)
        elif lacking:
            why.setdefault(f"missing in {' and '.join(lacking)}", []).append(name)
        elif len({weights.shapes[name] for weights in opened.values()}) > 1:
            shapes = ", ".join(f"{list(weights.shapes[name])} in {member}" for member, weights in opened.items())
            why.setdefault(f"of another shape ({shapes})", []).append(name)
        elif name in tied:
            why.setdefault(f"the same tensor as {tied[name]}", []).append(name)
        elif not all(weights.dtypes[name].is_floating_point for weights in opened.values()):
            why.setdefault("no floating-point numbers", []).append(name)
        elif 0 not in first.shapes[name]:
            chosen.add(name)
    for member, weights in list(opened.items())[1:]:
        theirs = [name for name in weights if name.rpartition(".")[2] not in STATISTICS]
        common = sum(weights.sizes[name] for name in theirs if name in chosen)
        if not chosen or common < SAME_NETWORK * min(_bytes(first, tied), sum(weights.sizes[n] for n in theirs)):
            shown = next(
                (f"; {_some(names)}: {reason}" for reason, names in why.items() if "BatchNorm" not in reason), ""
            )
            raise ValueError(
                f"{first_name} and {member} are of different networks: {len(chosen)} of {len(theirs)} tensors are in "
                f"all files in one shape{shown}. Compare checkpoints of one network"
            )
    return chosen, [(_some(names), reason) for reason, names in why.items()]


def _bytes(weights: LazyWeights, tied: Mapping[str, str]) -> int:
    return sum(size for name, size in weights.sizes.items() if name not in tied)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _decomposable(weights: LazyWeights, units: Sequence[Module]) -> tuple[set[str], list[tuple[str, str]]]:
    """Matrices that are small enough for a spectrum, the smallest first as long as their cost is; and the others."""
    sides: dict[str, tuple[int, int]] = {}
    for name in (name for unit in units for name in unit.parameters):
        shape = weights.shapes[name]
        if len(shape) > 1:
            rows, entries = shape[0], 1
            for side in shape:
                entries *= side
            if min(rows, entries // rows) > 1:
                sides[name] = min(rows, entries // rows), entries
    kept: set[str] = set()
    spent = 0
    for name, (side, entries) in sorted(sides.items(), key=lambda item: item[1]):
        spent += side**3
        if side <= WIDEST and entries <= LARGEST and spent <= COST:
            kept.add(name)
    skipped = [name for name in sides if name not in kept]
    reason = (
        f"no spectrum: decomposed are matrices of at most {LARGEST:,} entries with a side of at most {WIDEST:,}, the "
        "smallest first, as many as take about half a minute a file"
    )
    return kept, [(_some(skipped), reason)] if skipped else []


class _Some(Mapping[str, Tensor]):
    """Weights of which only some tensors are seen."""

    def __init__(self, weights: LazyWeights, names: set[str]) -> None:
        self._weights, self._names = weights, names

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._weights[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._weights if name in self._names)

    def __len__(self) -> int:
        return len(self._names)
