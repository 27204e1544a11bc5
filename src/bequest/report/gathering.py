"""What did a study find, gathered from its store for the report?

Reads what is there and says what is missing: a report of a study with failed steps is still a report.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors.torch import load_file

from bequest.analyses.pairs import arm, repeats_init
from bequest.data.inside import shortened
from bequest.data.pack import Packed, open_packed
from bequest.evaluation.predict import Predictions
from bequest.evaluation.tasks import task
from bequest.report.contents import Answer, Failure, MistakePicture, Picture, ReportInput
from bequest.study.functions.images import chosen
from bequest.study.functions.measuring import open_predictions
from bequest.study.plan import Plan
from bequest.study.reading import dump
from bequest.study.step import Step
from bequest.study.store import Store

LANGUAGE = "error is the share of tokens that were not the likeliest; the perplexity is exp(loss)"
SHOWN_MISTAKES = 8  # pictures a group and target; two rows of four on a phone


def gather(plan: Plan, store: Store) -> ReportInput:
    """Collect everything that the report of a study shows.

    Args:
        plan: the study's steps.
        store: where their results are.

    Returns:
        The contents of the report.
    """
    study = plan.study.model_copy(update={"tensorboard": False})  # no result depends on it, nor does the page
    opened = {door: open_packed(store.open(step).folder) for door, step in plan.domains.items() if store.has(step)}
    source = None
    if study.source is not None:
        domains = [opened[door].domain if door in opened else door for door in study.source.data]
        source = " and ".join(domains) if domains else f"the weights {Path(str(study.source.weights)).name}"
    return ReportInput(
        title=study.title or f"What was transferred: {study.name}",
        targets=tuple(study.targets),
        results=results(plan, store),
        source=source,
        asked=dump(study),
        done=_facts(plan, store) | _left_out(opened),
        sweep=_sweep(plan, store),
        runs=_runs(plan, store),
        pictures=tuple(picture for packed in opened.values() for picture in _pictures(packed)),
        shuffled=tuple(_shuffled(plan, store)),
        mistakes=tuple(_mistakes(plan, store, opened)),
        attributions=tuple(dict.fromkeys(packed.attribution for packed in opened.values())),
        repeat=(f"bequest run {store.root / 'study.yaml'} --folder {store.root}",),
        failures=failures(plan, store),
        left_out=tuple(study.left_out.items()),
    )


def results(plan: Plan, store: Store) -> dict[str, pl.DataFrame]:
    """Give the rows of each analysis that is there, all targets together."""
    found: dict[str, list[pl.DataFrame]] = {}
    for (analysis, _), step in plan.measured.items():
        if store.has(step):
            found.setdefault(analysis, []).append(store.checked(step).rows())
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


def _mistakes(plan: Plan, store: Store, opened: dict[str, Packed]) -> Iterator[MistakePicture]:
    for (analysis, target), measured in plan.measured.items():
        door = plan.study.targets[target].data
        if analysis != "mistakes" or door not in opened or opened[door].tokens or not store.has(measured):
            continue
        steps = {name.split("/", 1)[1]: step for name, step in measured.inputs.items() if name != "images"}
        given = {name: open_predictions(store.open(step)) for name, step in steps.items() if store.has(step)}
        packed = opened[door]
        if packed.multilabel:
            yield from _label_mistakes(given, packed, target)
            continue
        shares = {name: made.outputs.softmax(1) for name, made in given.items() if not repeats_init(name)}
        right = {name: share.argmax(1) == given[name].targets for name, share in shares.items()}
        arms = {which: [r for name, r in right.items() if arm(name) == which] for which in ("finetune", "randinit")}
        if not all(arms.values()):
            continue
        every = {which: torch.stack(answers).all(0) for which, answers in arms.items()}
        none = {which: ~torch.stack(answers).any(0) for which, answers in arms.items()}
        indices = chosen(packed, "test", {})
        for better, worse in (("finetune", "randinit"), ("randinit", "finetune")):
            group = f"every {worse} wrong, every {better} right"
            for row in (every[better] & none[worse]).nonzero().flatten().tolist()[:SHOWN_MISTAKES]:
                answers = []
                for name, share in shares.items():
                    confidence, answer = share[row].max(0)
                    answers.append(Answer(name, packed.classes[int(answer)], float(confidence)))
                index = int(indices[row])
                truth = packed.classes[int(packed.targets[index])]
                yield MistakePicture(group, packed.pixels[index], truth, tuple(answers), target)


def _label_mistakes(given: dict[str, Predictions], packed: Packed, target: str) -> Iterator[MistakePicture]:
    """Images with a label that all runs of one arm get wrong and all of the other right."""
    chances = {name: made.outputs.sigmoid() for name, made in given.items() if not repeats_init(name)}
    indices = chosen(packed, "test", {})
    truth = packed.targets[indices]
    right = {name: (chance > 0.5) == (truth == 1) for name, chance in chances.items()}
    arms = {which: [r for name, r in right.items() if arm(name) == which] for which in ("finetune", "randinit")}
    if not all(arms.values()):
        return
    known = ~truth.isnan()
    for better, worse in (("finetune", "randinit"), ("randinit", "finetune")):
        found = torch.stack(arms[better]).all(0) & ~torch.stack(arms[worse]).any(0) & known
        for row, place in found.nonzero().tolist()[:SHOWN_MISTAKES]:
            label = packed.classes[place]
            answers = []
            for name, chance in chances.items():
                present = float(chance[row, place])
                said = label if present > 0.5 else f"no {label}"
                answers.append(Answer(name, said, max(present, 1 - present)))
            shown = label if truth[row, place] == 1 else f"no {label}"
            group = f"every {worse} wrong, every {better} right"
            yield MistakePicture(group, packed.pixels[int(indices[row])], shown, tuple(answers), target)


def failures(plan: Plan, store: Store) -> tuple[Failure, ...]:
    """Give the steps that failed, with their message and the end of their traceback."""
    told = [(step, store.failure(step)) for step in plan.steps() if not store.has(step)]
    return tuple(
        Failure(step.label, str(failure["message"]), str(failure["traceback"])[-2000:])
        for step, failure in told
        if failure
    )
