"""Which test images does the page hold, and what did each run say of them?

Whether a run is right is kept for every example, as one bit, so that the page's counts are whole. Pictures, answers and
confidences are kept for as many examples as fit: some of each class and of each outcome, those first on which the two
arms differ. The page says how many it leaves out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bequest.analyses.pairs import arm, replicas
from bequest.data.pack import Packed
from bequest.evaluation.label_decisions import label_decisions
from bequest.evaluation.predict import Predictions
from bequest.report.contents import Predicted
from bequest.report.pictures import address

MOST_SHOWN = 480  # pictures or texts of a page, all targets together
MOST_BYTES = 1_500_000  # of their addresses, likewise
MOST_SAID = 60_000  # answers of a page: examples shown times runs
MOST_COUNTED = 50_000  # examples of a target that are counted
MOST_TEXT = 500  # characters of a text
OUTCOMES = ("only a", "only b", "none", "both")  # in the order in which examples are taken


def predicted(
    target: str | None, given: Mapping[str, Predictions], packed: Packed, rows: NDArray[np.int64]
) -> Predicted:
    """Put together what runs said of the test examples of a target.

    Args:
        target: its name.
        given: run -> its predictions; outputs [N, C] are scores of classes, or logits of labels.
        packed: the examples, of all splits.
        rows: int64 [N], which of them were predicted.

    Returns:
        All of it; pictures stay where they are until they are shown.
    """
    first = next(iter(given.values()))
    pixels = None if packed.tokens else packed.pixels
    shared = {"target": target, "classes": packed.classes, "pixels": pixels, "texts": packed.texts}
    if packed.multilabel:
        decided = label_decisions(first.outputs, packed.targets[rows])
        present = {name: made.outputs.sigmoid()[decided.known].numpy() for name, made in given.items()}
        answers = {name: decided.of(made.outputs) for name, made in given.items()}
        sure = {name: np.where(answers[name], chance, 1 - chance) for name, chance in present.items()}
        places, labels = rows[decided.examples], decided.classes
        return Predicted(**shared, truth=decided.truth, answers=answers, confidence=sure, rows=places, labels=labels)  # type: ignore[arg-type] # of one dict
    found = {name: made.outputs.float().softmax(1).max(1) for name, made in given.items()}
    return Predicted(
        **shared,  # type: ignore[arg-type] # of one dict
        truth=first.targets.numpy(),
        answers={name: one.indices.numpy() for name, one in found.items()},
        confidence={name: one.values.double().numpy() for name, one in found.items()},
        rows=rows,
    )


def page_data(given: Sequence[Predicted]) -> list[dict[str, Any]]:
    """Give what the page needs of all targets, as plain values for JSON.

    Args:
        given: a target each.

    Returns:
        For each target: its runs, those that may stand for their arm, the class of each example, a bit for each run and
        example, and the examples that are shown, with their picture or text, what each run said and how sure it was.
    """
    room, budget = MOST_SHOWN // max(1, len(given)), MOST_BYTES // max(1, len(given))
    return [_target(one, room, budget, MOST_SAID // max(1, len(given))) for one in given]


def _target(given: Predicted, room: int, budget: int, most_said: int) -> dict[str, Any]:
    kept = _evenly(len(given.truth), MOST_COUNTED)
    truth, runs = given.truth[kept], list(given.answers)
    about = truth if given.labels is None else given.labels[kept]
    right = {name: said[kept] == truth for name, said in given.answers.items()}
    groups = {which: names for which, names in replicas(runs).items() if len(names) > 1}
    room = min(room, max(12, most_said // max(1, len(runs))))
    pictures: dict[int, str] = {}
    shown: list[int] = []
    used = 0
    for index in _chosen(about, *_two(right, groups)):
        if len(shown) >= room:
            break
        row = int(given.rows[kept[index]])
        if row not in pictures:
            made = given.texts[row] if given.pixels is None else address(np.asarray(given.pixels[row]))
            if given.pixels is None and len(made) > MOST_TEXT:
                made = made[:MOST_TEXT].rstrip() + " …"
            if used + len(made.encode()) > budget:
                break
            pictures[row], used = made, used + len(made.encode())
        shown.append(index)
    places = {row: place for place, row in enumerate(pictures)}
    return {
        "target": given.target or "",
        "classes": list(given.classes),
        "runs": runs,
        "arms": {which: [runs.index(name) for name in names] for which, names in groups.items()},
        "labels": given.labels is not None,
        "text": given.pixels is None,
        "all": len(given.truth),
        "about": about.tolist(),
        "truth": [int(truth[index]) for index in shown],
        "right": [base64.b64encode(np.packbits(bits, bitorder="little").tobytes()).decode() for bits in right.values()],
        "shown": shown,
        "pictures": list(pictures.values()),
        "picture": [places[int(given.rows[kept[index]])] for index in shown],
        "said": [[int(given.answers[name][kept[index]]) for name in runs] for index in shown],
        "sure": [[round(100 * float(given.confidence[name][kept[index]])) for name in runs] for index in shown],
    }


def _evenly(count: int, most: int) -> NDArray[np.int64]:
    """All places, or as many as may be, evenly spaced."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def _two(
    right: Mapping[str, NDArray[np.bool_]], groups: Mapping[str, list[str]]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether the two sides that the page opens with are right: the arms, by most of their runs, or the first runs."""
    names = list(right)
    sides = [[name for name in names if arm(name) == which] for which in ("finetune", "randinit")]
    if not all(sides):
        sides = [names[:1], names[1:2] or names[:1]]
    a, b = (groups.get(arm(side[0]), side[:1]) for side in sides)
    return _most([right[name] for name in a]), _most([right[name] for name in b])


def _most(bits: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    more: NDArray[np.bool_] = np.stack(bits).sum(0) * 2 > len(bits)
    return more


def _chosen(about: NDArray[np.int64], a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Iterator[int]:
    """Every example, once: outcomes in turn, and within an outcome classes in turn."""
    queues = []
    for mask in (a & ~b, b & ~a, ~a & ~b, a & b):  # as in OUTCOMES
        by_class: dict[int, list[int]] = {}
        for index in np.flatnonzero(mask).tolist():
            by_class.setdefault(int(about[index]), []).append(index)
        queues.append(
            [i for turn in zip_longest(*(by_class[c] for c in sorted(by_class))) for i in turn if i is not None]
        )
    for turn in zip_longest(*queues):
        yield from (index for index in turn if index is not None)
