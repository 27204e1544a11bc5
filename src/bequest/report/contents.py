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
class Answer:
    """What one run said of an image.

    Attributes:
        run: its name.
        label: the class that it chose.
        confidence: the probability that it gave to that class, 0..1.
    """

    run: str
    label: str
    confidence: float


@dataclass(frozen=True)
class MistakePicture:
    """An image that some runs got wrong.

    Attributes:
        group: heading under which it is shown, as `randinit wrong, finetune right`.
        pixels: uint8 [H, W, 3].
        truth: the right class.
        answers: what the runs said.
        target: the target that it is from.
    """

    group: str
    pixels: NDArray[np.uint8]
    truth: str
    answers: tuple[Answer, ...]
    target: str | None = None


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
        mistakes: examples of mistakes, in the order to show.
        attributions: whose data it is, a paragraph each.
        repeat: command lines that repeat the study.
        failures: steps that failed.
        left_out: what could not be measured, or not compared, and why.
        advices: what should be done, by what was tried out for it.
        summary: a sentence in place of the count of claims, for a report that has no claims to judge.
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
    mistakes: tuple[MistakePicture, ...] = ()
    attributions: tuple[str, ...] = ()
    repeat: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    summary: str = ""
    advices: tuple[Advice, ...] = ()
