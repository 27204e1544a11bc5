"""What do all analyses of the demo cost beside the trainings that they explain?

Reads the seconds of every step from the demo's store (`make demo` fills it): both were taken in one run on one machine.
Trainings are pre-training, sweeps and all runs; analyses are everything that is measured afterwards, predictions too.
Drawing images and writing the report are neither, nor are decisions: they train what they advise, and are named apart.
"""

from __future__ import annotations

from pathlib import Path

from race import Row, alone

FOLDER = Path(__file__).parents[1] / "studies" / "emoji"
MOST = 0.6
NEITHER = {"images", "choose", "weights", "report"}


def measure(quick: bool) -> list[Row]:
    from bequest.study.plan import plan
    from bequest.study.reading import read_study
    from bequest.study.store import Store

    if not (FOLDER / "study.yaml").is_file():
        raise RuntimeError("there is no demo yet: say `make demo` first")
    planned, store = plan(read_study(FOLDER / "study.yaml")), Store(FOLDER)
    seconds: dict[str, float] = {}
    for step in planned.steps():
        if not store.has(step):
            raise RuntimeError(f"the demo is not complete ({step.label} is missing): say `make demo` first")
        taken = store.open(step).json("provenance")["seconds"]
        seconds[step.function] = seconds.get(step.function, 0.0) + taken
    training = seconds["train"]
    decisions = {name for name in seconds if name.startswith("decide")}
    analyses = {name: taken for name, taken in seconds.items() if name not in NEITHER | {"train"} | decisions}
    ours = sum(analyses.values())
    largest = sorted(analyses.items(), key=lambda item: -item[1])[:6]
    note = "largest: " + ", ".join(f"{name.replace('_', ' ')} {taken:.0f} s" for name, taken in largest)
    note += f"; decisions besides: {sum(seconds[name] for name in decisions):.0f} s"
    ratio = ours / training
    what = f"{len(planned.measured)} analyses, {sum(step.function == 'train' for step in planned.steps())} trainings"
    return [
        Row(
            "all analyses of the demo",
            what,
            ours,
            "the demo's own training",
            training,
            ratio,
            f"at most {MOST}",
            ratio <= MOST,
            note=note,
        )
    ]


if __name__ == "__main__":
    alone(measure)
