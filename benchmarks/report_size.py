"""How large is the report of a study with 300 runs, and how soon does a browser show it?

Ten targets with thirty runs each (all arms), rows only: nothing is trained, every number is made up, the shapes are
those of a study. The page has 500 test images a target. It is opened in headless Chromium without a network, from the
command to load it until all that is in sight is drawn; the second row is its size.
"""

from __future__ import annotations

import importlib.util
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
from race import Row, absent, alone

JOB = "report of 300 runs"
MOST_SECONDS, MOST_MEGABYTES = 2.0, 15.0
TARGETS = [f"target {index}" for index in range(10)]
ARMS = {"finetune": 12, "randinit": 12, "meanvar": 2, "shuffled": 2, "probe": 2}
RUNS = [f"{arm}/{replica}" for arm, count in ARMS.items() for replica in range(count)]
MODULES = ["stem", *(f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2)), "fc"]
CLASSES = tuple(f"class {index}" for index in range(20))
EXAMPLES, SIDE, EPOCHS = 500, 64, 30


def measure(quick: bool) -> list[Row]:
    what = f"{len(TARGETS)} targets with {len(RUNS)} runs each"
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None:
        missing = FileNotFoundError("no chromium here; install it with: apt-get install chromium")
        return [absent(JOB, what, "", missing, f"at most {MOST_SECONDS:g}")]
    from bequest.report.page import write_report

    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        contents = study()
        made = time.perf_counter()
        path = write_report(contents, Path(name) / "report.html")
        written, size = time.perf_counter() - made, path.stat().st_size / 1e6
        browser = tests_browser()(binary)
        try:
            seconds = [opened(browser, path) for _ in range(3 if quick else 9)]
            charts = browser.evaluate("document.querySelectorAll('.chart').length")
        finally:
            browser.close()
    rows = sum(frame.height for frame in contents.results.values())
    note = f"{rows:,} rows made in {made - start:.0f} s, written in {written:.0f} s, {charts} charts"
    median = statistics.median(seconds)
    return [
        Row(
            JOB,
            what,
            median,
            "seconds until shown",
            None,
            median,
            f"at most {MOST_SECONDS:g}",
            median <= MOST_SECONDS,
            note=note,
        ),
        Row(JOB, what, None, "MB", None, size, f"at most {MOST_MEGABYTES:g}", size <= MOST_MEGABYTES, note=note),
    ]


def tests_browser() -> Any:
    """The browser of the tests."""
    place = Path(__file__).parents[1] / "tests" / "report" / "conftest.py"
    spec = importlib.util.spec_from_file_location("browser_of_the_tests", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Browser


def opened(browser: Any, path: Path) -> float:
    """Seconds from the command to load the page until all that is in sight is drawn."""
    browser.ask("Page.navigate", url="about:blank")
    start = time.perf_counter()
    browser.ask("Page.navigate", url=path.resolve().as_uri())
    while browser.evaluate("document.documentElement?.dataset.sight") is None:
        if time.perf_counter() - start > 60:
            raise RuntimeError("the page was not drawn in 60 s")
        time.sleep(0.01)
    return time.perf_counter() - start


def study() -> Any:
    """The contents of the report."""
    from bequest.report.contents import Picture, ReportInput

    generator = np.random.default_rng(0)
    parts: dict[str, list[pl.DataFrame]] = {}
    predictions = []
    for target in TARGETS:
        given, seen = predicted(target, generator)
        predictions.append(seen)
        for name, rows in analysed(given, generator).items():
            parts.setdefault(name, []).append(rows.with_columns(target=pl.lit(target)))
    runs = pl.DataFrame(
        [
            {"run": run, "target": target, "status": "done", "init_seed": str(generator.integers(2**40)),
             "learning_rate": 0.01, "epochs": EPOCHS, "test_error": generator.random(), "seconds": 12.3}
            for target in TARGETS
            for run in RUNS
        ]
    )  # fmt: skip
    pictures = tuple(Picture(target, label, picture(generator)) for target in TARGETS for label in CLASSES)
    return ReportInput(
        title="A study of 300 runs",
        targets=tuple(TARGETS),
        results={name: pl.concat(frames, how="diagonal_relaxed") for name, frames in parts.items()},
        source="nothing: every number is made up",
        runs=runs,
        pictures=pictures,
        predictions=tuple(predictions),
    )


def picture(generator: np.random.Generator) -> Any:
    """A smooth picture with some noise: what WebP makes of it is as large as of a photograph."""
    small = generator.integers(0, 255, (6, 6, 3)).astype(np.float64)
    large = np.kron(small, np.ones((SIDE // 6 + 1, SIDE // 6 + 1, 1)))[:SIDE, :SIDE]
    return (large + generator.normal(0, 12, large.shape)).clip(0, 255).astype(np.uint8)


def predicted(target: str, generator: np.random.Generator) -> tuple[dict[str, Any], Any]:
    import torch

    from bequest.report.contents import Predicted

    truth = generator.integers(0, len(CLASSES), EXAMPLES)
    hard = generator.random(EXAMPLES)
    given, answers, sure = {}, {}, {}
    for run in RUNS:
        share = 0.75 if run.startswith("finetune") else 0.6
        right = hard + generator.normal(0, 0.3, EXAMPLES) < share
        answers[run] = np.where(right, truth, generator.integers(0, len(CLASSES), EXAMPLES))
        sure[run] = generator.random(EXAMPLES)
        outputs = torch.nn.functional.one_hot(torch.tensor(answers[run]), len(CLASSES)).float()
        given[run] = SimpleNamespace(outputs=outputs, targets=torch.tensor(truth))
    pixels = np.stack([picture(generator) for _ in range(EXAMPLES)])
    return given, Predicted(target, CLASSES, truth, answers, sure, np.arange(EXAMPLES), pixels)


def analysed(given: dict[str, Any], generator: np.random.Generator) -> dict[str, pl.DataFrame]:
    """Rows of a target: measured where that takes no network, made up where it would."""
    from bequest.analyses.learning_curves import learning_curves
    from bequest.analyses.mistakes import mistakes
    from bequest.analyses.result import table

    curves = {run: trajectory(run, generator) for run in RUNS}
    rates = {arm: [0.01, 0.1, 1.0] for arm in ARMS}
    made = {name: table(name, rows(generator)) for name, rows in MADE_UP.items()}
    return {
        "learning_curves": learning_curves(curves, chance=0.05, tried=rates, chosen=dict.fromkeys(rates, 0.1)).rows,
        "mistakes": mistakes(given, classes=CLASSES).rows,
        **made,
    }


def trajectory(run: str, generator: np.random.Generator) -> Any:
    end, rate = (0.2, 0.4) if run.startswith("finetune") else (0.35, 0.2)
    epochs = np.arange(EPOCHS + 1)
    errors = end + (0.95 - end) * np.exp(-rate * epochs) + generator.normal(0, 0.01, len(epochs))
    rows = [(int(i), split, float(e)) for i, e in zip(epochs, errors, strict=True) for split in ("train", "validation")]
    rows.append((EPOCHS, "test", float(errors[-1])))
    metrics = pl.DataFrame(rows, schema=["epoch", "split", "error"], orient="row")
    return SimpleNamespace(metrics=metrics.with_columns(loss=2 * pl.col("error")))


def _pairs() -> Iterator[tuple[str, str]]:
    yield from combinations(RUNS, 2)
    yield from (("P", run) for run in RUNS)


def similarity(generator: np.random.Generator) -> Iterator[dict[str, Any]]:
    for a, b in _pairs():
        for module in MODULES:
            row = {"a": a, "b": b, "module": module, "module_b": module, "n": EXAMPLES, "unit": "cka"}
            value = float(generator.uniform(0.2, 1))
            yield {**row, "metric": "cka", "value": value, "low": value - 0.02, "high": value + 0.02}
            yield {**row, "metric": "cka_null", "value": float(generator.normal(0, 0.01))}


def distance(generator: np.random.Generator) -> Iterator[dict[str, Any]]:
    for a, b in _pairs():
        for module in ("*", *MODULES):
            for metric in ("l2", "l2_sum", "l2_per_sqrt_n", "l2_relative", "cosine"):
                if module == "*" or metric != "l2_sum":
                    row = {"a": a, "b": b, "module": module, "metric": metric, "n": 1000, "unit": "parameter"}
                    yield {**row, "value": float(generator.uniform(0.1, 3))}


def barrier(generator: np.random.Generator) -> Iterator[dict[str, Any]]:
    points = np.linspace(0, 1, 11)
    for arm in ("finetune", "randinit"):
        for a, b in combinations([f"{arm}/{replica}" for replica in range(6)], 2):
            for split in ("train", "test"):
                row = {"a": a, "b": b, "module": "*", "split": split, "n": EXAMPLES, "unit": "share"}
                height = 0.02 if arm == "finetune" else 0.5
                for metric in ("error", "error_naive"):
                    for t in points:
                        yield {**row, "metric": metric, "x": float(t), "value": 0.2 + height * math.sin(math.pi * t)}
                yield {**row, "metric": "barrier_error", "value": height + float(generator.normal(0, 0.003))}
    yield {"metric": "chance_accuracy", "module": "*", "split": "train", "value": 0.05}
    yield {"metric": "chance_accuracy", "module": "*", "split": "test", "value": 0.05}


def criticality(generator: np.random.Generator) -> Iterator[dict[str, Any]]:
    for run in RUNS:
        shared = {"a": run, "split": "train", "path": "direct", "end": "last", "n": EXAMPLES, "unit": "share"}
        yield {**shared, "module": "*", "metric": "final_error", "value": 0.1}
        for depth, module in enumerate(MODULES):
            row = {**shared, "module": module, "depth": depth, "head": module == "fc"}
            for metric in ("mu", "rewind_error", "rerandomised_error", "move", "move_relative"):
                yield {**row, "metric": metric, "value": 0.1 + 0.05 * depth * float(generator.uniform(0.5, 1))}


def spectrum(generator: np.random.Generator) -> Iterator[dict[str, Any]]:
    for module in MODULES:
        row = {"module": module, "tensor": f"{module}.weight", "of": "displacement"}
        for run in RUNS:
            for metric in ("stable_rank", "effective_rank", "spectral_norm"):
                yield {**row, "a": run, "metric": metric, "value": float(generator.uniform(1, 60)), "n": 64}
        for a, b in combinations(RUNS, 2):
            for metric in ("overlap_left", "overlap_right"):
                value = float(generator.random())
                yield {**row, "a": a, "b": b, "metric": metric, "x": 5.0, "value": value, "n": 5, "expected": 0.1}


MADE_UP = {
    "similarity": similarity,
    "distance": distance,
    "barrier": barrier,
    "criticality": criticality,
    "spectrum": spectrum,
}

if __name__ == "__main__":
    alone(measure)
