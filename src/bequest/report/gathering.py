"""What did a study find, gathered from its store for the report?

Reads what is there and says what is missing: a report of a study with failed steps is still a report.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from safetensors.torch import load_file

from bequest.data.inside import shortened
from bequest.data.pack import Packed, open_packed
from bequest.evaluation.tasks import task
from bequest.report.contents import Failure, Picture, Predicted, ReportInput
from bequest.report.predictions import predicted
from bequest.report.what_to_do import advices
from bequest.study.functions.images import chosen
from bequest.study.functions.measuring import open_predictions
from bequest.study.plan import Plan
from bequest.study.reading import dump
from bequest.study.resources import Resources
from bequest.study.spec import Study
from bequest.study.step import Step
from bequest.study.store import Store

# large files that the report shows something of; checkpoints are not among them
READ = ("rows.parquet", "pixels.npy", "tokens.safetensors", "arrays.safetensors", "predictions.safetensors")
LANGUAGE = "error is the share of tokens that were not the likeliest; the perplexity is exp(loss)"


def gather(plan: Plan, store: Store) -> ReportInput:
    """Collect everything that the report of a study shows.

    Args:
        plan: the study's steps.
        store: where their results are.

    Returns:
        The contents of the report.
    """
    for step in plan.steps():
        if store.open(step).folder.is_dir():  # without a manifest it is damaged, too
            store.checked(step, *READ)
    study = plan.study.model_copy(update={"tensorboard": False})  # no result depends on it, nor does the page
    opened = {door: open_packed(store.open(step).folder) for door, step in plan.domains.items() if store.has(step)}
    return replace(
        gather_numbers(plan, store, {door: packed.domain for door, packed in opened.items()}),
        asked=dump(study.model_copy(update={"resources": Resources()})),  # no result depends on them
        done=_facts(plan, store) | _left_out(opened),
        sweep=_sweep(plan, store),
        runs=_runs(plan, store),
        pictures=tuple(picture for packed in opened.values() for picture in _pictures(packed)),
        shuffled=tuple(_shuffled(plan, store)),
        predictions=tuple(_predicted(plan, store, opened)),
        attributions=tuple(dict.fromkeys(packed.attribution for packed in opened.values())),
        repeat=(shlex.join(["bequest", "run", str(store.root / "study.yaml"), "--folder", str(store.root)]),),
        left_out=tuple(study.left_out.items()),
    )


def gather_numbers(plan: Plan, store: Store, domains: Mapping[str, str] | None = None) -> ReportInput:
    """Collect what the numbers of a study say, without its pictures, predictions and circumstances.

    Args:
        plan: the study's steps.
        store: where their results are.
        domains: names of the domains behind the doors, where they are open.

    Returns:
        That part of the contents of the report.
    """
    study, known = plan.study, domains or {}
    source = None
    if study.source is not None:
        named = [known.get(door, door) for door in study.source.data]
        source = " and ".join(named) if named else f"the weights {Path(str(study.source.weights)).name}"
    return ReportInput(
        title=study.title or f"What was transferred: {study.name}",
        targets=tuple(study.targets),
        results=results(plan, store),
        source=source,
        summary=_given(study, source),
        failures=failures(plan, store),
        advices=tuple(advices(plan, store)),
    )


def _given(study: Study, source: str | None) -> str:
    """Say of weights that were given, and not trained here, what was done with them."""
    if not study.given:
        return ""
    count = len(study.given)
    base = f", and with P ({source})" if source else ""
    doors = " and ".join(target.data for target in study.targets.values())
    beside = f" compared with each other{base}" if count > 1 else f" examined{base.replace(', and', '')}"
    return f"{'Weights' if count == 1 else f'{count} sets of weights'}, given as files,{beside} on {doors}."


def results(plan: Plan, store: Store) -> dict[str, pl.DataFrame]:
    """Give the rows of each analysis that is there, all targets together."""
    found: dict[str, list[pl.DataFrame]] = {}
    for (analysis, _), step in plan.measured.items():
        if store.has(step):
            found.setdefault(analysis, []).append(store.checked(step, "rows.parquet").rows())
    return {name: pl.concat(frames, how="diagonal_relaxed") for name, frames in found.items()}


def _facts(plan: Plan, store: Store) -> dict[str, str]:
    steps = [step for step in plan.steps() if store.has(step)]
    records = [store.checked(step).json("provenance") for step in steps]
    if not records:
        return {}
    last = max(records, key=lambda record: str(record["finished"]))
    seconds: dict[str, float] = {}
    for step, record in zip(steps, records, strict=True):
        kind = {"images": "drawing", "train": "training", "texts": "drawing", "weights": "drawing"}.get(
            step.function, "measuring"
        )
        seconds[kind] = seconds.get(kind, 0.0) + record["seconds"]
    trained = sum(step.function == "train" for step in steps)
    arms = sum(len(runs) for runs in plan.runs.values())
    commit = f"{last['commit'][:12]}{' with changes' if last['dirty'] else ''}" if last["commit"] else "not a checkout"
    trusted = {"pickled code": "was allowed to run (--trust-pickle)"} if plan.study.trust_pickle else {}
    named = {name: task(plan.tasks[name]) for name in plan.study.targets}
    other = [f"{name}: {one.metric}; error is {one.units['error']}" for name, one in named.items() if one.whole]
    said = [name for name, one in named.items() if one.name == "language-modelling"]
    return (
        trusted
        | ({"measured on several labels": ", ".join(other)} if other else {})
        | ({"measured on language": f"{', '.join(said)}: {LANGUAGE}"} if said else {})
        | {
            "trainings": f"{trained}, of them {arms} runs of the arms",
            "seconds": ", ".join(f"{kind} {value:.0f}" for kind, value in seconds.items()),
            "finished": str(last["finished"]),
            "device": ", ".join(sorted({str(record["device"]) for record in records})),
            "peak memory": f"{max(record['peak_memory_mib'] for record in records)} MiB",
            "packages": ", ".join(f"{name} {version}" for name, version in last["packages"].items()),
            "platform": f"Python {last['python']}, {last['platform']}",
            "Bequest's commit": commit,
        }
    )


def _left_out(opened: dict[str, Packed]) -> dict[str, str]:
    """Which images could not be read, in one list."""
    broken = [f"{packed.domain} {name} ({why})" for packed in opened.values() for name, why in packed.left_out]
    return {"images that cannot be read": f"{len(broken):,} left out: {shortened(broken)}"} if broken else {}


def _sweep(plan: Plan, store: Store) -> pl.DataFrame | None:
    frames = [
        store.open(step)
        .rows()
        .select(pl.lit(target).alias("target"), pl.lit(arm_name).alias("arm"), "learning_rate", "error", "chosen")
        for (target, arm_name), step in plan.choices.items()
        if store.has(step)
    ]
    return pl.concat(frames) if frames else None


def _runs(plan: Plan, store: Store) -> pl.DataFrame:
    trained = plan.pretrained is not None and plan.pretrained.function == "train"
    rows = [_run("P", "", plan.pretrained, store)] if trained and plan.pretrained else []
    for target, runs in plan.runs.items():
        rows += [_run(name, target, step, store) for name, step in runs.items()]
        own = {step.key for step in runs.values()}
        further = {cell.step.key: cell for cell in plan.further.get(target, ()) if cell.step.key not in own}
        rows += [_run(cell.name, target, cell.step, store) for cell in further.values()]
    return pl.DataFrame(rows, infer_schema_length=None)


def _run(name: str, target: str, step: Step, store: Store) -> dict[str, Any]:
    row: dict[str, Any] = {"run": name, "target": target, "status": "done"}
    row |= {
        key: str(step.arguments.get(key, "")) for key in ("init_seed", "order_seed")
    }  # too long for a table's float
    keys = ("learning_rate", "epochs", "best_epoch", "train_error", "validation_error", "test_error", "seconds")
    row |= dict.fromkeys(keys) | {"message": None}
    if not store.has(step):
        failure = store.failure(step)
        why = failure["message"] if failure else "an input failed" if target else "not run yet"
        return row | {"status": "failed" if failure else "left out", "message": why}
    artefact = store.checked(step)
    about, metrics = artefact.json("run"), artefact.rows()
    if "recipe" in about:  # weights that were given have none
        row |= {key: about["recipe"][key] for key in ("learning_rate", "epochs")} | {"best_epoch": about["best_epoch"]}
    row["seconds"] = artefact.json("provenance")["seconds"]
    for split in ("train", "validation", "test"):
        errors = metrics.filter(pl.col("split") == split).sort("epoch")["error"]
        row[f"{split}_error"] = errors[-1] if len(errors) else None
    return row


def _pictures(packed: Packed) -> Iterator[Picture]:
    seen: set[int] = set()
    for index in [] if packed.tokens else packed.indices("train").tolist():
        here = packed.targets[index]
        targets = (here == 1).nonzero().flatten().tolist() if packed.multilabel else [int(here)]
        for target in targets:
            if target not in seen:
                seen.add(target)
                yield Picture(packed.domain, packed.classes[target], packed.pixels[index])


def _shuffled(plan: Plan, store: Store) -> Iterator[Picture]:
    """An example image for each block size, from single pixels to none."""
    for (analysis, target), step in plan.measured.items():
        if analysis != "block_shuffle" or not store.has(step):
            continue
        found = load_file(store.open(step).folder / "arrays.safetensors")
        order = {name: 0 if name.endswith("pixel-channel") else int(name.split("/")[1]) for name in found}
        for name in sorted(found, key=lambda one: (one.split("/")[0], order[one])):
            mode, block = name.split("/")
            words = "pixels with colours" if block == "pixel-channel" else f"blocks of {block}"
            words = "no shuffle" if block == str(plan.study.size) else words
            pixels = found[name].permute(1, 2, 0).contiguous().numpy()
            yield Picture(f"{target}, {mode.replace('_', ' ')}", words, pixels)


def _predicted(plan: Plan, store: Store, opened: dict[str, Packed]) -> Iterator[Predicted]:
    """What the runs said of the test examples, for each target whose mistakes were compared."""
    for (analysis, target), measured in plan.measured.items():
        door = plan.study.targets[target].data
        if analysis != "mistakes" or door not in opened or not store.has(measured):
            continue
        steps = {name.split("/", 1)[1]: step for name, step in measured.inputs.items() if name != "images"}
        given = {name: open_predictions(store.open(step)) for name, step in steps.items() if store.has(step)}
        packed = opened[door]
        if given and (packed.multilabel or packed.targets.ndim == 1):  # tokens of language have no classes to show
            yield predicted(target, given, packed, chosen(packed, "test", {}).numpy())


def failures(plan: Plan, store: Store) -> tuple[Failure, ...]:
    """Give the steps that failed, with their message and the end of their traceback."""
    told = [(step, store.failure(step)) for step in plan.steps() if not store.has(step)]
    return tuple(
        Failure(step.label, str(failure["message"]), str(failure["traceback"])[-2000:])
        for step, failure in told
        if failure
    )
