"""How do checkpoints that are there already become a study?

`bequest compare A B --base P --model NAME --data DATA` is a study whose runs are given: the files are measured like the
last weights of an arm, and nothing is trained. The study file that comes of it lies in the folder and can be run again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bequest.data.doors import with_absolute_place
from bequest.study.options import usual
from bequest.study.possible import without_impossible
from bequest.study.prepared import prepared
from bequest.study.reading import BadStudy, check, with_changes
from bequest.study.spec import Study

# so that a comparison takes minutes, not hours, where networks are large; each can be asked for again
SOONER: dict[str, dict[str, float]] = {
    "barrier": {"points": 11},
    "basin": {"samples": 4},
    "criticality": {"draws": 5, "images": 64, "precision": 0.25},
}
TARGET = "data"  # what the one target of a comparison is called


def comparison(
    files: Sequence[Path],
    *,
    model: str,
    data: str,
    base: Path | None = None,
    calibration: str | None = None,
    size: int | None = None,
    name: str = "comparison",
    changes: Sequence[str] = (),
    trust_pickle: bool = False,
) -> Study:
    """Make the study that compares checkpoints.

    Args:
        files: files of weights, at least one; each is called by its name without the ending.
        model: the network that they are of, by name.
        data: the door of the images to measure on.
        base: the weights that all of them started from.
        calibration: the door of the images to refit BatchNorm on; then all images of `data` are measured.
        size: images are size x size pixels; None: as the published weights of the model want them, else 64.
        name: of the study, or of its folder: what a name of a study cannot hold becomes a dash.
        changes: to the study, as `key.path=value`.
        trust_pickle: run what pickled files want to run.

    Returns:
        The study, checked. Images are prepared as the published weights of the model want it, where that is known;
        analyses that the network does not allow are left out, unless a change names them.

    Raises:
        BadStudy: if something is missing or out of range.
    """
    for path in [*files, *([base] if base else [])]:
        if not path.exists():
            raise BadStudy(f"{path}: no such file of weights")
        if str(path.resolve()) != os.fsencode(path.resolve()).decode(errors="replace"):
            raise BadStudy(f"{path}: the name of this file or a folder above it is not UTF-8; rename it")
    doors = {"data": data} | ({"calibration": calibration} if calibration else {})
    target = {key: with_absolute_place(door, Path.cwd()) for key, door in doors.items()}
    content: dict[str, Any] = {
        "name": _allowed(name) or "comparison",
        "title": f"How alike are {_listed([path.name for path in files])}?",
        "model": model,
        "given": {called: str(path.resolve()) for called, path in zip(names_of(files), files, strict=True)},
        "targets": {TARGET: target},
    }
    if base is not None:
        content["source"] = {"weights": str(base.resolve())}
    content["analyses"] = {kind: dict(SOONER.get(kind, {})) for kind in usual(len(files), base is not None)}
    if "criticality" in content["analyses"]:
        content["analyses"]["criticality"]["replicas"] = len(files)  # from the base to each of them
    if len(files) > 1:
        content["decisions"] = {"soup": {}}  # may these be averaged?
    content |= prepared(model) | ({"size": size} if size is not None else {})
    if trust_pickle:
        content["trust_pickle"] = True
    study = check(with_changes(content, changes), lambda location: "compare")
    keys = [change.partition("=")[0].removeprefix("analyses.").split(".")[0] for change in changes]
    return study if "analyses" in keys else without_impossible(study, keys)


def _listed(names: Sequence[str]) -> str:
    shown = [name[:40] for name in names[:4]] + ([f"{len(names) - 4} more"] if len(names) > 4 else [])
    return " and ".join(shown)[:180]


def _allowed(name: str) -> str:
    """What of a name a study can hold."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._")[:60]


def names_of(files: Sequence[Path]) -> list[str]:
    """A name a file: its own without the ending, told apart by its folder or a number where two are alike."""
    stems = [_plain(path) for path in files]
    if len(set(stems)) < len(stems):
        stems = [_plain(path.parent / f"{path.resolve().parent.name}-{path.name}") for path in files]
    named = [f"{stem}-{place}" if stems.count(stem) > 1 else stem for place, stem in enumerate(stems)]
    if len(set(named)) < len(named):  # as of a, a and a-1
        named = [f"{stem}-{place}" for place, stem in enumerate(stems)]
    return named


def folder_of(files: Sequence[Path], base: Path | None, *asked: str | None) -> str:
    """Name the folder of a comparison by what it is of, so that another one does not take its place.

    Args:
        files: what is compared.
        base: what they started from.
        asked: the network and the data, if they are given.

    Returns:
        The name, as `one-other-1a2b3c`: the files, and six digits of what else is asked, the same for the same command.
    """
    named = names_of(files)
    shown = named[:3] + ([f"{len(named) - 3}-more"] if len(named) > 3 else [])
    whole = [*(str(path.resolve()) for path in files), str(base and base.resolve()), *map(str, (*asked, Path.cwd()))]
    digits = hashlib.sha256("\0".join(whole).encode(errors="surrogatepass")).hexdigest()[:6]
    return "-".join([*(name[:30] for name in shown), digits])


def _plain(path: Path) -> str:
    text = _allowed(re.sub(r"(\.safetensors|\.bin)?\.index$", "", path.stem))  # of sharded weights
    return f"m{text}" if not text or re.fullmatch(r"\d+[a-z]", text) else text  # 0b would repeat an init
