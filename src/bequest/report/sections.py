"""What does the page say of each analysis?

A section has the question, the charts, how to read them, the verdicts and the numbers. The words for the analyses that
Bequest ships are here; one that is not gets them from the first docstring of its file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from bequest.analyses.plugins import about
from bequest.analyses.verdict import Verdict
from bequest.report.charts import Chart, analysis_charts
from bequest.report.contrasts import contrasts
from bequest.report.tables import Table, result_table
from bequest.report.verdicts import JUDGES, SHAPES, judged

WORDS: dict[str, tuple[str, str]] = {  # analysis -> title, how to read the chart; in the order of the page
    "learning_curves": (
        "Learning curves",
        "Lower is better, and a curve that falls further left learns faster. Solid lines are the validation error, "
        "dashed ones the train error without augmentation; the band is the 95 % interval over replicas. Diamonds are "
        "the test error at the last epoch. Where bands overlap, look at the paired difference in the table: it is "
        "what the verdict uses.",
    ),
    "block_shuffle": (
        "Block shuffle",
        "Each image is cut into blocks that are shuffled, for training and for testing. Small blocks destroy what is "
        "seen and keep the statistics of the pixels. The numbers above the left pane are what of the accuracy of "
        "fine-tuned models is lost without pre-training, in percent; in brackets where that says little. A drop that "
        "shrinks with the blocks comes from features; one that stays does not. In the right pane, an arm that stays "
        "high at single pixels learns fast without anything to be seen; control arms have the scale of P's weights "
        "alone.",
    ),
    "mistakes": (
        "Mistakes",
        "A dot is a pair of models: how many images exactly one of them gets wrong, against how many that would be if "
        "two models with these errors were independent. On the solid grey line they are as alike as chance (kappa 0); "
        "below it they fail on the same images; on the dashed one kappa is 0.5. Better models lie further left by "
        "arithmetic alone, so compare the heights under the line, not the counts.",
    ),
    "similarity": (
        "Feature similarity",
        "CKA of 1 means the same features up to rotation and scale, 0 none in common. It is the unbiased estimate, so "
        "it may fall a little below 0. A dot is a pair, a line the mean of its kind; pairs with P are dashed, those "
        "across control arms are in the table alone. Compare kinds at the same module: inside the grey band, made with "
        "the images in another order, features are unrelated.",
    ),
    "distance": (
        "Distance in parameter space",
        "How far apart the weights are, module by module from input to output, as a share of the norm of the start and "
        "on a logarithmic scale; pairs with P are dashed. Raw distances are in the table: they grow with the size of a "
        "module, so they make a poor trend.",
    ),
    "changes": (
        "Changed entries",
        "How many of a module's parameters are other numbers than before, and, where two fine-tunes changed the same "
        "ones, how often in the same direction: at the grey line they agree as often as a coin. A module near 0 was "
        "frozen, or its steps were too small for its type of numbers.",
    ),
    "barrier": (
        "Barriers",
        "The error along the straight line between two models. A flat line means one basin; a hump is the barrier "
        "between two. BatchNorm statistics are measured again at each point; the naive curve, thin, shows how much of "
        "a hump would be an artefact.",
    ),
    "basin": (
        "Basin",
        "Inside the set of all mixes of an arm's replicas the error hardly changes if rise and eps are near 0. "
        "Delta says how far outside it the wall stands, in random directions and in those that lead away from the set.",
    ),
    "plane": (
        "Planes through three models",
        "The loss in the plane through three models; distances are in weight space. One dark valley that holds two of "
        "them is one basin; a bright ridge between them is a barrier. The dashed lines are the ways of training, "
        "projected on the plane. It is a picture of two directions among millions.",
    ),
    "connectivity": (
        "Connecting paths",
        "A solid curve that stays flat where the dashed line rises is a path around the barrier. A path that was not "
        "found is no proof that there is none.",
    ),
    "matching": (
        "Matched networks",
        "A barrier that matching removes was one of channel order. What is left is an upper bound: the best "
        "permutation is unknown, and narrow networks match less well.",
    ),
    "criticality": (
        "Module criticality",
        "A module far to the right in mu, or with a large rise after rewinding, has to be what it became. Compare "
        "drops only beside the size of the move, and leave the head of a fine-tuned model out, as it is new.",
    ),
    "valley": (
        "Valleys of modules",
        "The error when one module is put back towards its start (left) and noise is added to it (upwards), while all "
        "others stay final. A dark band that reaches far to the left and up is a wide valley: that module is not "
        "critical. Compare the shapes, as the distances of two runs differ.",
    ),
    "checkpoints": (
        "Pre-training checkpoints",
        "Accuracy and speed of fine-tuning from each checkpoint of the pre-training, beside the source's accuracy. The "
        "dotted line is the smallest checkpoint that is enough; the dashed one is where the last plateau of the "
        "source begins. To the right of the dotted line, more pre-training gains nothing that can be told.",
    ),
    "spectrum": (
        "Spectrum",
        "How many directions the weights of each module use. An overlap far above the grey line means that two runs "
        "moved along the same directions.",
    ),
}


@dataclass(frozen=True)
class Section:
    """One analysis on the page.

    Attributes:
        key: its name, the id of the section.
        title: in words.
        question: what it asks.
        how: how to read the charts.
        definitions: paragraphs on what the numbers mean.
        charts: one for each target.
        verdicts: what it says of the claims, one for each target, with the drawing beside it.
        table: the rows.
        error: why there is no verdict, where judging failed.
        contrasts: what each arm gains on another, where there are control arms.
    """

    key: str
    title: str
    question: str
    how: str
    definitions: list[str]
    charts: list[Chart]
    verdicts: list[tuple[Verdict, str]]
    table: Table
    error: str = ""
    contrasts: Table | None = None


def sections(results: Mapping[str, pl.DataFrame], targets: Sequence[str]) -> list[Section]:
    """Make the sections of all analyses that have rows.

    Args:
        results: name of an analysis -> its rows.
        targets: the study's order of targets.

    Returns:
        The sections in the order of `WORDS`, then any further ones.
    """
    known = [name for name in WORDS if name in results] + [name for name in results if name not in WORDS]
    filled = {name: results[name] for name in known if results[name].height}
    verdicts, errors = judged(filled)
    return [
        _section(name, rows, targets, _alone(name, verdicts), errors.get(name, "")) for name, rows in filled.items()
    ]


def _alone(name: str, verdicts: Mapping[str, tuple[Verdict, ...]]) -> tuple[Verdict, ...]:
    """The verdicts of an analysis, which say so where another one has the first word on the claim."""
    found = []
    for verdict in verdicts.get(name, ()):
        first = next((one for one in JUDGES.get(verdict.claim, ()) if verdicts.get(one)), name)
        if first != name:
            words = f" This is the word of {title(name)} alone; that on {verdict.claim} is the one of {title(first)}."
            parts = tuple(replace(part, sentence=part.sentence + words) for part in verdict.parts)
            verdict = replace(verdict, sentence=verdict.sentence + words, parts=parts)
        found.append(verdict)
    return tuple(found)


def title(name: str) -> str:
    """Give the title of an analysis, as its section has it."""
    return WORDS.get(name, (name.replace("_", " ").capitalize(), ""))[0]


def _section(
    name: str, rows: pl.DataFrame, targets: Sequence[str], verdicts: tuple[Verdict, ...], error: str
) -> Section:
    heading, how = title(name), WORDS.get(name, ("", ""))[1]
    question, *definitions = _paragraphs(name)
    parts = [(part, SHAPES[part.status]) for verdict in verdicts for part in (verdict.parts or (verdict,))]
    return Section(
        name,
        heading,
        question,
        how,
        definitions,
        analysis_charts(name, heading, rows, targets),
        parts,
        result_table(rows, f"{heading}: rows"),
        error,
        contrasts(rows, targets) if name == "learning_curves" else None,
    )


def _paragraphs(name: str) -> list[str]:
    """The first docstring of the analysis, a text a paragraph; the first one is the question."""
    found = [" ".join(paragraph.split()) for paragraph in about(name).split("\n\n")]
    return [paragraph for paragraph in found if paragraph] or [name.replace("_", " ")]
