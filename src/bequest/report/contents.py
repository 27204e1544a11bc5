"""What goes into a report?

Plain values that the study's last step fills in. Every string may come from data: the page escapes all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray


@dataclass(frozen=True)
class Picture:
    """An example image of a domain.

    Attributes:
        domain: what kind of images; one row of the page's table of pictures.
        label: its class; one column.
        pixels: uint8 [H, W, 3].
    """

    domain: str
    label: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Predicted:
    """What the runs said of the test examples of a target.

    Where an image may have several labels, an example is one label of one image.

    Attributes:
        target: name of the target; None where there is just one set.
        classes: names of the classes, or of the labels.
        truth: int64 [N], the class; of a label 1 (there) or 0 (not there).
        answers: run -> int64 [N], what it said, as in `truth`.
        confidence: run -> float [N], the probability that it gave to its answer, 0..1.
        rows: int64 [N], where the example is in `pixels` or `texts`.
        pixels: uint8 [M, H, W, 3]; may be mapped from a file, only those that are shown are read.
        texts: in place of pixels.
        labels: int64 [N], which label an example is about; None where each image has one class.
    """

    target: str | None
    classes: tuple[str, ...]
    truth: NDArray[np.int64]
    answers: Mapping[str, NDArray[np.int64]]
    confidence: Mapping[str, NDArray[np.float64]]
    rows: NDArray[np.int64]
    pixels: NDArray[np.uint8] | None = None
    texts: tuple[str, ...] = ()
    labels: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Failure:
    """A step that failed.

    Attributes:
        step: its name.
        message: what went wrong, in one line.
        traceback: the end of the traceback, if there is one.
    """

    step: str
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class Advice:
    """A decision on one target.

    Attributes:
        decision: its name.
        target: what it is about.
        sentence: what to do, with the numbers.
        sure: `measured`, `inconclusive` or `refused`.
        rows: what was measured.
        costs: seconds, images and further ones.
        weights: the file of weights that it made, if it made any, in the study's folder.
        note: what has to be known besides.
    """

    decision: str
    target: str
    sentence: str
    sure: str
    rows: pl.DataFrame
    costs: Mapping[str, float] = field(default_factory=dict)
    weights: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class ReportInput:
    """All that a report shows.

    Attributes:
        title: heading of the page.
        targets: names of the targets, in the study's order.
        results: name of an analysis -> its rows, those of all targets together (column `target`).
        source: what was pre-trained on, in words.
        asked: the study, as YAML text or as a mapping.
        done: facts about what was run, as shown: `runs` -> `24`, `seconds` -> `310`, `device` -> `cpu`, ...
        sweep: tried learning rates; columns target, arm, learning_rate, error (validation, 0..1), chosen (Boolean).
        runs: one row a run, any columns; `status` other than `done` marks a failed one, `message` says why, columns
            that contain `error` are shares.
        pictures: examples of the domains, in the order to show.
        shuffled: an example image for each block size; its domain is the target and kind of permutation, its label
            the block size in words.
        predictions: what the runs said of the test examples, a target each.
        attributions: whose data it is, a paragraph each.
        repeat: command lines that repeat the study.
        failures: steps that failed.
        left_out: what could not be measured, or not compared, and why.
        advices: what should be done, by what was tried out for it.
        summary: a sentence in place of what was pre-trained and trained on, for weights that were given.
    """

    title: str
    targets: tuple[str, ...] = ()
    results: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    source: str | None = None
    asked: str | Mapping[str, Any] = ""
    done: Mapping[str, str] = field(default_factory=dict)
    sweep: pl.DataFrame | None = None
    runs: pl.DataFrame | None = None
    pictures: tuple[Picture, ...] = ()
    shuffled: tuple[Picture, ...] = ()
    predictions: tuple[Predicted, ...] = ()
    attributions: tuple[str, ...] = ()
    repeat: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    summary: str = ""
    advices: tuple[Advice, ...] = ()
