"""Which model should one start from, judged before any training on the target?

Nine scores of a model's features (or of what its source head says) on labelled examples of the target; of each, more
is better. None is a promise: `bequest.source` trains the candidates and says how well each score ordered them.

`leep`, `nce`: how well the source head's classes tell the target's, mean log likelihood in nats (`class_scores`).
`nleep`: LEEP with the groups of a mixture of Gaussians on principal components in place of source classes (Li et al.
2021), five a class, on 80 percent of the variance; it needs no head. `logme`: log evidence of a linear model, nats an
example (`log_evidence`). `h_score`, `h_score_shrunk`: variance between classes beside that of the features. `probe`,
`knn`: accuracy of a ridge regression and of five neighbours on examples they have not seen, 0..1; with several labels
an example the mean AUROC. `cka`: unbiased linear CKA with the features of a model that was trained on the target.

The singular value decomposition of the features is made once and shared by all scores that need it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bequest.evaluation.class_scores import h_score, leep, nce
from bequest.evaluation.feature_classifiers import linear_probe, nearest_neighbours
from bequest.evaluation.features import Features
from bequest.evaluation.gaussian_mixture import fit_mixture
from bequest.evaluation.hsic import linear_cka
from bequest.evaluation.labels import auroc_error
from bequest.evaluation.log_evidence import logme
from bequest.evaluation.taken_apart import TakenApart, take_apart

ENERGY = 0.8  # share of the variance that N-LEEP keeps (Li et al. 2021)
A_CLASS = 5  # components a class (Li et al. 2021)
A_COMPONENT = 4  # examples that a component needs at least (chosen: fewer, and it knows each example by name)
MOST_COMPARED = 2000  # examples of CKA, evenly spaced: it keeps their Gram matrix


@dataclass(frozen=True)
class Evidence:
    """What the scores of one model are made of.

    Attributes:
        seen: what the model sees in the examples that may be learned from.
        held_out: what it sees in others; None: each example is left out in turn.
        reference: features [N, D] of a model that was trained on the target, of the same examples; None: there is none.
        seed: of the mixture of N-LEEP.
    """

    seen: Features
    held_out: Features | None = None
    reference: Tensor | None = None
    seed: int = 0

    @cached_property
    def parts(self) -> TakenApart:
        """The features, taken apart."""
        return take_apart(self.seen.features)

    @property
    def probabilities(self) -> Tensor:
        """What the source head says, [N, Z]."""
        return self.seen.outputs.double().softmax(1)


def nleep(parts: TakenApart, targets: Tensor, *, seed: int = 0) -> float:
    """Give LEEP with soft groups of the features in place of source classes.

    Args:
        parts: of the features.
        targets: class numbers int64 [N].
        seed: of the mixture's first centres.

    Returns:
        The mean log likelihood in nats, at most 0.
    """
    if not len(parts.values):  # features that do not vary are one group
        return leep(torch.ones(parts.examples, 1, dtype=torch.float64), targets)
    share = (parts.values**2).cumsum(0) / (parts.values**2).sum()
    kept = int((share < ENERGY).sum()) + 1
    components = max(1, min(A_CLASS * len(targets.unique()), parts.examples // A_COMPONENT))
    points = parts.points[:, :kept]
    return leep(fit_mixture(points, components, seed=seed).posterior(points), targets)


def transferability(
    seen: Features,
    *,
    held_out: Features | None = None,
    reference: Tensor | None = None,
    scores: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Score how well a model fits a target, before any training.

    Args:
        seen: what the model sees in labelled examples of the target (`bequest.features`).
        held_out: what it sees in further ones, for `probe` and `knn`; None: each example is left out in turn.
        reference: features [N, D] of a model that was trained on the target, of the same examples, for `cka`.
        scores: names of scores; None: all that can be made of what is there.
        seed: of `nleep`.

    Returns:
        Score -> its value, in the order of `SCORES`; more is better.

    Raises:
        ValueError: if there is no such score, it cannot be made of what is there, or there is only one class.
    """
    _check_targets(seen.targets)
    several = seen.targets.is_floating_point()
    for name in scores or ():
        if name not in SCORES:
            near = difflib.get_close_matches(name, SCORES, n=1, cutoff=0.0)
            raise ValueError(f"there is no score {name!r}; the nearest is {near[0]!r}, all are {', '.join(SCORES)}")
    lacking = {}
    if several:
        lacking = dict.fromkeys(ONE_CLASS, "needs one class an example, and these have several labels each")
    if reference is None:
        lacking["cka"] = "needs reference=, the features of a model that was trained on the target"
    for name in scores or ():
        if name in lacking:
            raise ValueError(f"the score {name!r} {lacking[name]}; leave it out")
    if reference is not None and len(reference) != len(seen.targets):
        raise ValueError(f"reference= has {len(reference)} examples and the features {len(seen.targets)}")
    evidence = Evidence(seen, held_out, reference, seed)
    asked = [name for name in SCORES if (name in scores if scores else name not in lacking)]
    return {name: SCORES[name](evidence) for name in asked}


def _check_targets(targets: Tensor) -> None:
    """Refuse targets that hold nothing to be told apart."""
    if targets.is_floating_point():
        if targets.ndim != 2 or bool(targets.isnan().any()):
            raise ValueError(
                f"the targets are {targets.dtype} {list(targets.shape)}; scores need one class an example, or [N, C] "
                "labels of 0 and 1 without missing ones: leave out the examples that lack a label"
            )
    elif targets.ndim != 1 or len(targets.unique()) < 2:
        raise ValueError(
            f"scores need class numbers [N] of at least two classes; these are {list(targets.shape)} with "
            f"{len(targets.unique())}"
        )


def _tried(answer: Callable[..., Tensor], evidence: Evidence) -> float:
    """The accuracy, or mean AUROC, of a classifier on examples that it has not seen."""
    known, other = evidence.seen.targets, evidence.held_out
    answers = answer(evidence.parts, known, None if other is None else other.features)
    truth = known if other is None else other.targets
    if known.is_floating_point():
        return 1 - auroc_error(answers, truth)
    return float((known.unique()[answers.argmax(1)] == truth).double().mean())


def _alike(evidence: Evidence) -> float:
    assert evidence.reference is not None
    if not len(evidence.parts.values):
        return 0.0  # features that do not vary have nothing in common with any
    step = max(1, -(-len(evidence.reference) // MOST_COMPARED))
    return linear_cka(evidence.seen.features[::step], evidence.reference[::step])


SCORES: Mapping[str, Callable[[Evidence], float]] = {
    "leep": lambda evidence: leep(evidence.probabilities, evidence.seen.targets),
    "nce": lambda evidence: nce(evidence.seen.outputs.argmax(1), evidence.seen.targets),
    "nleep": lambda evidence: nleep(evidence.parts, evidence.seen.targets, seed=evidence.seed),
    "logme": lambda evidence: logme(evidence.parts, evidence.seen.targets),
    "h_score": lambda evidence: h_score(evidence.parts, evidence.seen.targets),
    "h_score_shrunk": lambda evidence: h_score(evidence.parts, evidence.seen.targets, shrunk=True),
    "probe": lambda evidence: _tried(linear_probe, evidence),
    "knn": lambda evidence: _tried(nearest_neighbours, evidence),
    "cka": _alike,
}
ONE_CLASS = ("leep", "nce", "nleep", "h_score", "h_score_shrunk")
OF_THE_HEAD = ("leep", "nce")
