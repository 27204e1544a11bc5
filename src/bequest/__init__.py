"""Bequest: what did pre-training bequeath to your model?

The public names, in groups. Each is imported when it is first used, so `import bequest` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bequest.analyses.barrier import barrier as barrier
    from bequest.analyses.basin import basin as basin
    from bequest.analyses.block_shuffle import block_shuffle as block_shuffle
    from bequest.analyses.checkpoints import checkpoints as checkpoints
    from bequest.analyses.connectivity import connect as connect
    from bequest.analyses.criticality import criticality as criticality
    from bequest.analyses.distance import distance as distance
    from bequest.analyses.learning_curves import learning_curves as learning_curves
    from bequest.analyses.matching import matching as matching
    from bequest.analyses.material import Material as Material
    from bequest.analyses.mistakes import mistakes as mistakes
    from bequest.analyses.plane import plane as plane
    from bequest.analyses.result import Result as Result
    from bequest.analyses.result import table as table
    from bequest.analyses.similarity import similarity as similarity
    from bequest.analyses.spectrum import spectrum as spectrum
    from bequest.analyses.valley import valley as valley
    from bequest.analyses.verdict import Verdict as Verdict
    from bequest.data.block_shuffle import shuffle_blocks as shuffle_blocks
    from bequest.decisions.checkpoint import checkpoint as checkpoint
    from bequest.decisions.decision import Decision as Decision
    from bequest.decisions.freeze import freeze as freeze
    from bequest.decisions.labels import labels as labels
    from bequest.decisions.soup import soup as soup
    from bequest.decisions.source import source as source
    from bequest.decisions.target_sizes import learn_sizes as learn_sizes
    from bequest.evaluation.features import Features as Features
    from bequest.evaluation.features import features as features
    from bequest.evaluation.matching import match as match
    from bequest.evaluation.predict import Predictions as Predictions
    from bequest.evaluation.predict import predict as predict
    from bequest.evaluation.transferability import transferability as transferability
    from bequest.models.files import open_weights as open_weights
    from bequest.models.files import read_weights as read_weights
    from bequest.models.files import write_weights as write_weights
    from bequest.models.opening import open_model as open_model
    from bequest.models.order import modules as modules
    from bequest.models.preprocessing import preprocessing as preprocessing
    from bequest.training.trajectory import Trajectory as Trajectory

_HOMES = {
    # models and weights
    "open_model": "bequest.models.opening",
    "modules": "bequest.models.order",
    "preprocessing": "bequest.models.preprocessing",
    "read_weights": "bequest.models.files",
    "open_weights": "bequest.models.files",
    "write_weights": "bequest.models.files",
    # running a model
    "Predictions": "bequest.evaluation.predict",
    "predict": "bequest.evaluation.predict",
    "Features": "bequest.evaluation.features",
    "features": "bequest.evaluation.features",
    "transferability": "bequest.evaluation.transferability",
    # what a training leaves
    "Trajectory": "bequest.training.trajectory",
    # an analysis of your own
    "Material": "bequest.analyses.material",
    "Verdict": "bequest.analyses.verdict",
    "table": "bequest.analyses.result",
    # analyses
    "Result": "bequest.analyses.result",
    "learning_curves": "bequest.analyses.learning_curves",
    "mistakes": "bequest.analyses.mistakes",
    "similarity": "bequest.analyses.similarity",
    "distance": "bequest.analyses.distance",
    "barrier": "bequest.analyses.barrier",
    "basin": "bequest.analyses.basin",
    "block_shuffle": "bequest.analyses.block_shuffle",
    "checkpoints": "bequest.analyses.checkpoints",
    "connect": "bequest.analyses.connectivity",
    "criticality": "bequest.analyses.criticality",
    "matching": "bequest.analyses.matching",
    "plane": "bequest.analyses.plane",
    "spectrum": "bequest.analyses.spectrum",
    "valley": "bequest.analyses.valley",
    # decisions
    "Decision": "bequest.decisions.decision",
    "freeze": "bequest.decisions.freeze",
    "soup": "bequest.decisions.soup",
    "checkpoint": "bequest.decisions.checkpoint",
    "labels": "bequest.decisions.labels",
    "learn_sizes": "bequest.decisions.target_sizes",
    "source": "bequest.decisions.source",
    # images and weights to experiment with
    "shuffle_blocks": "bequest.data.block_shuffle",
    "match": "bequest.evaluation.matching",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"bequest has no {name!r}; it has {', '.join(_HOMES)}")
    found = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
