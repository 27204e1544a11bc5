"""The functions that the steps of a study run, each with its version."""

from __future__ import annotations

from bequest.study.functions import (
    deciding,
    experiments,
    images,
    landscape,
    measuring,
    parts,
    soup_and_freeze,
    training,
)
from bequest.study.functions.plugins import plugged
from bequest.study.step import Function

FUNCTIONS: dict[str, Function] = {
    "images": Function(images.draw, version=1, kind="rest"),
    "texts": Function(images.tokenise, version=1, kind="rest"),
    "weights": Function(training.import_weights, version=1, kind="rest"),
    "given": Function(training.given_weights, version=1, kind="training"),
    "train": Function(training.train_run, version=1, kind="training", splits=True),
    "choose": Function(training.choose, version=1, tolerant=("rate ",), kind="rest"),
    "predict": Function(measuring.predictions, version=1),
    "plugin": Function(plugged, version=1, tolerant=("run/",)),
    "learning_curves": Function(measuring.learning_curves, version=3, tolerant=("run/", "choice/")),
    "mistakes": Function(measuring.mistakes, version=3, tolerant=("predictions/",)),
    "similarity": Function(measuring.similarity, version=3, tolerant=("run/",)),
    "distance": Function(measuring.distance, version=2, tolerant=("run/",)),
    "barrier": Function(measuring.barrier, version=2, tolerant=("run/",)),
    "block_shuffle": Function(experiments.block_shuffle, version=1, tolerant=("run/",)),
    "checkpoints": Function(experiments.checkpoints, version=1, tolerant=("run/",)),
    "basin": Function(landscape.basin, version=2, tolerant=("run/",)),
    "plane": Function(landscape.plane, version=1, tolerant=("run/",)),
    "connectivity": Function(landscape.connectivity, version=1, tolerant=("run/",)),
    "matching": Function(landscape.matching, version=2, tolerant=("run/",)),
    "criticality": Function(parts.criticality, version=3, tolerant=("run/",)),
    "valley": Function(parts.valley, version=2, tolerant=("run/",)),
    "decide_checkpoint": Function(deciding.checkpoint, version=2, tolerant=("run/",)),
    "decide_labels": Function(deciding.labels, version=2, tolerant=("run/",)),
    "decide_source": Function(deciding.source, version=2),
    "decide_soup": Function(soup_and_freeze.soup, version=3, tolerant=("run/",)),
    "decide_freeze": Function(soup_and_freeze.freeze, version=3, tolerant=("images", "measured/")),
    "spectrum": Function(parts.spectrum, version=2, tolerant=("run/",)),
}
