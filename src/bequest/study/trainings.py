"""Which trainings does a study take: pre-training, the sweeps, the arms, on shuffled images, from earlier checkpoints?

Each is a step. Two parts of a study that ask for the same training share it, as its key is the same: the runs without
shuffle of `block_shuffle` are those of the arms where the recipe is theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from bequest.data.block_shuffle import BlockSize, block_sizes
from bequest.data.calibration import with_calibration
from bequest.data.doors import open_source
from bequest.data.source import Source as Domain
from bequest.data.source import content
from bequest.models.files import read_weights
from bequest.models.fitting import complete, transfer
from bequest.models.head import head_is_shared
from bequest.models.identity import identity
from bequest.models.opening import open_model
from bequest.models.preprocessing import tokenizer, tokenizer_files
from bequest.study.asked_task import task_for
from bequest.study.making import make
from bequest.study.options import BlockShuffle, Checkpoints
from bequest.study.resources import check_batches
from bequest.study.spec import Arm, Study, Target
from bequest.study.step import Step
from bequest.study.store import file_hash
from bequest.study.weight_files import content_hash
from bequest.training.recipe import Recipe
from bequest.training.seeds import fold
from bequest.training.trajectory import doubling_epochs
from bequest.weights.soundness import check_finite

LEAST_TEST = 4  # the unbiased estimate of similarity needs four images
PROBE_SHARE = 0.6  # a frozen network is run forwards alone
IMAGES_OF_COST, TEXTS_OF_COST = 10, 100  # that are read for the cost of one image through a network


@dataclass(frozen=True)
class Cell:
    """A run of a further experiment.

    Attributes:
        name: among all runs of a target, as `finetune/0 on blocks of 8, fixed`.
        run: among those of its place, as `finetune/0`.
        place: where it stands in the experiment: a block size, or an epoch of the pre-training.
        mode: `fixed` or `per_image` on shuffled images; empty for checkpoints.
        step: the training.
    """

    name: str
    run: str
    place: int | str
    mode: str
    step: Step


@dataclass(frozen=True)
class _Kind:
    """What distinguishes one training of a target from another."""

    what: str
    arm: Arm
    seeds: tuple[int, int]
    recipe: Recipe
    checkpoint: str = "last"
    shuffle: Mapping[str, Any] | None = None
    rate: float | None = None
    choice: Step | None = None
    keep: Any = ()
    shots: int | None = None


@dataclass
class Trainings:
    """Makes the steps of the trainings; what they share is worked out once.

    Attributes:
        study: what is asked.
        opened: the domains, by the name of their door.
        domains: the steps that draw them.
        pretrained: the step that gives P; None where only weights without a source are compared.
        choices: the steps that chose learning rates, by (target, what for).
        sweeps: the trials behind them.
    """

    study: Study
    opened: dict[str, Domain] = field(init=False)
    domains: dict[str, Step] = field(init=False)
    pretrained: Step | None = field(init=False)
    choices: dict[tuple[str, str], Step] = field(default_factory=dict)
    sweeps: dict[tuple[str, str], dict[str, Step]] = field(default_factory=dict)
    _counts: dict[str, Counter[str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Open the data and look for what cannot be done, before anything runs."""
        doors: list[tuple[str, str | None]] = []
        doors += [(door, None) for door in (self.study.source.data if self.study.source else ())]
        doors += [(target.data, target.calibration) for target in self.study.targets.values()]
        self.opened = {door: _opened(door, calibration) for door, calibration in dict.fromkeys(doors)}
        for door, domain in self.opened.items():
            _check_splits(door, domain, ("train", "test") if self.study.given else ("train", "validation", "test"))
        # a name that does not exist is found here
        said = {task_for(domain) for domain in self.opened.values()} == {"language-modelling"}
        self.model = open_model(self.study.model, classes=None if said else 2)
        self.domains = {door: self._draw(door, self.opened[door], other) for door, other in dict.fromkeys(doors)}
        self.network = {"model": self.study.model} | identity(self.study.model)
        self.pretrained = self._pretrain()
        for name, target in self.study.targets.items():
            task_for(self.opened[target.data], target.task, f"targets.{name}.task")
            self._check_shots(name, target)
        self._check_probe()

    @property
    def seen(self) -> dict[str, Any]:
        """How images are normalised."""
        return {"mean": list(self.study.mean), "std": list(self.study.std)}

    def data(self, target: Target) -> dict[str, Any]:
        """Give the arguments that say which images of a target are learned from, and how they are normalised."""
        # one seed for all targets: domains that show the same things then get the same things to learn from
        chosen = {"shots": target.shots, "shots_seed": fold(self.study.seed, "shots")} | self.seen
        return chosen | _task(self.opened[target.data])

    @property
    def _trusted(self) -> dict[str, Any]:
        return {"trust_pickle": True} if self.study.trust_pickle else {}

    def count(self, door: str, split: str, shots: int | None = None) -> int:
        """Count the images of a split; of train only the shots."""
        if door not in self._counts:  # there may be a million records and ten thousand runs
            self._counts[door] = Counter(record.split for record in self.opened[door].records)
        there = self._counts[door][split]
        return there if shots is None or split != "train" else min(there, shots * len(self.opened[door].classes))

    def runs(self, name: str) -> dict[str, Step]:
        """Make the sweeps and the runs of all arms on a target; or read the weights that are given."""
        if self.study.given:
            return {
                f"{self.study.arm_of_given}/{given}": self._read(name, given, path)
                for given, path in self.study.given.items()
            }
        arms = self.study.arms
        for arm, rates in arms.learning_rates.items():
            if rates:
                self._sweep(name, arm, _Kind(arm, arm, (0, 0), arms.recipe), rates)
        names = _named(arms.names, arms.replicas)
        if arms.same_init:
            names.insert(2 * arms.replicas, "randinit/0b")
        keep = arms.checkpoint_epochs
        return {run: self._run(name, self._kind(name, run, f"train {run}", arms.recipe, keep=keep)) for run in names}

    def on_shuffled(self, name: str, options: BlockShuffle) -> list[Cell]:
        """Make the runs on images with shuffled blocks, and those without shuffle that they are compared with."""
        if self.opened[self.study.targets[name].data].texts:
            raise ValueError(
                f"analyses.block_shuffle moves blocks of images, and {self.study.targets[name].data} holds texts; "
                "name the targets that have images in analyses.block_shuffle.targets, or leave it out"
            )
        arms, size = self.study.arms, self.study.size
        plain = arms.recipe.model_copy(update={"augmentation": "none"})
        recipe = arms.recipe if options.recipe == "arms" else options.recipe or plain
        every: tuple[BlockSize, ...] = options.sizes or (*block_sizes(size)[:-1], "pixel-channel")
        keep = arms.checkpoint_epochs if recipe == arms.recipe else ()  # then they are the arms' own runs
        cells = []
        for mode in options.modes:
            for block in (size, *every):
                controls = [arm for arm in arms.controls if arm != "probe"]
                here = controls if block == size or block in options.controls else []
                for run in _named(("finetune", "randinit", *here), arms.replicas):
                    seed = int(run.split("/")[1])  # the number of the replica, as in the paper's code
                    shuffle = None if block == size else {"block_size": block, "mode": mode, "seed": seed}
                    called = f"{run} {_words(block, size)}, {mode.replace('_', ' ')}"
                    kind = self._kind(name, run, f"train {called}", recipe, keep=keep if shuffle is None else ())
                    kind = replace(kind, shuffle=shuffle)
                    if options.sweep and shuffle is not None:
                        what = f"{kind.arm} {_words(block, size)}, {mode.replace('_', ' ')}"
                        kind = replace(kind, choice=self._chosen_again(name, kind, what))
                    cells.append(Cell(called, run, block, mode, self._run(name, kind)))
        return cells

    def from_checkpoints(self, name: str, options: Checkpoints) -> list[Cell]:
        """Make the fine-tunes from a series of checkpoints of the pre-training, its last one included."""
        assert self.study.source is not None
        arms, last = self.study.arms, self.study.source.recipe.epochs
        kept = doubling_epochs(last)
        cells = []
        for epoch in sorted({*(options.epochs if options.epochs is not None else (0, *kept)), last}):
            if epoch not in {0, last, *kept}:
                raise ValueError(
                    f"analyses.checkpoints.epochs has {epoch}, but the pre-training keeps its weights at 0, "
                    f"{', '.join(map(str, kept))} and {last}"
                )
            checkpoint = "last" if epoch == last else f"epoch-{epoch}" if epoch else "step-0"
            for run in _named(("finetune",), arms.replicas):
                called = f"{run} from epoch {epoch}"
                keep = arms.checkpoint_epochs if epoch == last else ()  # then they are the arm's own runs
                kind = self._kind(name, run, f"train {called}", arms.recipe, keep=keep)
                kind = replace(kind, checkpoint=checkpoint)
                if options.sweep and epoch != last:
                    kind = replace(kind, choice=self._chosen_again(name, kind, f"finetune from epoch {epoch}"))
                cells.append(Cell(called, run, epoch, "", self._run(name, kind)))
        return cells

    def at_sizes(self, name: str, sizes: Mapping[int, float], budget: str, sweep: bool) -> list[Cell]:
        """Make the runs of both arms on fewer images; sizes are shots, with what their epochs are multiplied by."""
        arms, cells = self.study.arms, []
        for shots, times in sizes.items():
            epochs = max(1, round(arms.recipe.epochs * (times if budget == "steps" else 1)))
            recipe = arms.recipe.model_copy(update={"epochs": epochs})
            own = shots == self.study.targets[name].shots and recipe == arms.recipe  # then they are the arms' own runs
            for run in _named(("finetune", "randinit"), arms.replicas):
                called = f"{run} on {shots} shots"
                kind = self._kind(name, run, f"train {called}", recipe, keep=arms.checkpoint_epochs if own else ())
                kind = replace(kind, shots=shots)
                if sweep and not own:
                    kind = replace(kind, choice=self._chosen_again(name, kind, f"{kind.arm} on {shots} shots"))
                cells.append(Cell(called, run, shots, "", self._run(name, kind)))
        return cells

    def _draw(self, door: str, domain: Domain, calibration: str | None) -> Step:
        arguments: dict[str, Any] = {"content": content(domain)} | ({"calibrated": True} if calibration else {})
        places = {"door": door} | ({"calibration": calibration} if calibration else {})
        if domain.texts:
            tokenizer(self.study.model)  # a model without one is found here
            arguments["tokenizer"] = [file_hash(file) for file in tokenizer_files(self.study.model)]
            places["model"] = self.study.model
            return make("texts", arguments, {}, f"tokenise {domain.name}", len(domain.records) / TEXTS_OF_COST, places)
        arguments["size"] = self.study.size
        # what is not said does not enter the key, so that what was drawn before is found
        arguments |= {"interpolation": self.study.interpolation} if self.study.interpolation != "lanczos" else {}
        arguments |= {"crop": self.study.crop} if self.study.crop != 1 else {}
        return make("images", arguments, {}, f"draw {domain.name}", len(domain.records) / IMAGES_OF_COST, places)

    def _pretrain(self) -> Step | None:
        source, seed = self.study.source, self.study.seed
        if source is None:
            return None
        if source.weights is not None:
            read = read_weights(source.weights, trust_pickle=self.study.trust_pickle)
            try:
                transfer(read, self.model)  # weights that don't fit are found here too
            except ValueError as error:
                raise ValueError(f"{source.weights}: {error}") from None
            check_finite(read, str(source.weights))
            known = self.network | {"content": content_hash(source.weights)} | self._trusted
            return make("weights", known, {}, "read the pre-trained weights", 1, {"path": str(source.weights)})
        arguments: dict[str, Any] = self.network | {"arm": "P", "shots": None} | self.seen
        arguments |= _task(self.opened[source.data[0]])
        arguments |= {"init_seed": fold(seed, "P", "init"), "order_seed": fold(seed, "P", "order")}
        arguments["recipe"] = _dumped(source.recipe, sweep=False)
        inputs = {f"images/{number}": self.domains[door] for number, door in enumerate(source.data)}
        check_batches(sum(self.count(door, "train") for door in source.data), source.recipe, self.study.resources)
        parts = [self._cost(door, None, source.recipe, "P") for door in source.data]
        cost, learned = sum(part[0] for part in parts), sum(part[1] for part in parts)
        label = f"pre-train on {' and '.join(self.opened[door].name for door in source.data)}"
        return make("train", arguments, inputs, label, cost, learned=learned)

    def _read(self, name: str, given: str, path: Path) -> Step:
        target = self.study.targets[name]
        classes, texts = self.opened[target.data].classes, self.opened[target.data].texts
        base = self.study.source.weights if self.study.source else None
        read = read_weights(path, base=base, trust_pickle=self.study.trust_pickle)
        try:
            weights, _ = complete(open_model(self.study.model, classes=len(classes) or None), read)
            check_finite(weights, str(path))
        except ValueError as error:
            way = "; if it is a language model, write text:FILE?label=none" if texts and classes else ""
            raise ValueError(f"{path} with the {len(classes)} classes of {target.data}: {error}{way}") from None
        known = self.network | {"content": content_hash(path), "arm": self.study.arm_of_given} | self.data(target)
        places = {"path": str(path)} | ({"base": str(base)} if base else {})
        inputs = {"images": self.domains[target.data]}
        if self.pretrained is not None:
            inputs["pretrained"] = self.pretrained
        cost = 2 * (self.count(target.data, "train", target.shots) + self.count(target.data, "test"))
        return make("given", known | self._trusted, inputs, f"{name}: read {given}", cost, places)

    def _kind(self, name: str, run: str, what: str, recipe: Recipe, keep: Any) -> _Kind:
        name_of_arm, replica = run.split("/")
        arm = cast(Arm, name_of_arm)
        # the init of 0b is that of 0; replica i of all arms shares its seeds, so that differences are paired
        seeds = (fold(self.study.seed, "init", replica.rstrip("b")), fold(self.study.seed, "order", replica))
        return _Kind(what, arm, seeds, recipe, choice=self.choices.get((name, arm)), keep=keep)

    def _run(self, name: str, kind: _Kind) -> Step:
        target = self.study.targets[name]
        target = target if kind.shots is None else target.model_copy(update={"shots": kind.shots})
        swept = kind.rate is not None or kind.choice is not None
        arguments: dict[str, Any] = self.network | {"arm": kind.arm, "recipe": _dumped(kind.recipe, sweep=swept)}
        arguments |= {"learning_rate": kind.rate, "init_seed": kind.seeds[0], "order_seed": kind.seeds[1]}
        arguments |= self.data(target)
        inputs = {"images": self.domains[target.data]}
        if kind.arm != "randinit" and self.pretrained is not None:
            inputs["pretrained"] = self.pretrained
            arguments["checkpoint"] = kind.checkpoint
        if kind.choice is not None:
            inputs["choice"] = kind.choice
        if kind.shuffle:
            arguments["shuffle"] = dict(kind.shuffle)
        if kind.keep:
            arguments["checkpoint_epochs"] = kind.keep if isinstance(kind.keep, str) else list(kind.keep)
        check_batches(self.count(target.data, "train", target.shots), kind.recipe, self.study.resources)
        cost, learned = self._cost(target.data, target.shots, kind.recipe, kind.arm)
        return make("train", arguments, inputs, f"{name}: {kind.what}", cost, learned=learned)

    def _sweep(self, name: str, what: str, kind: _Kind, rates: Sequence[float]) -> Step:
        # seeds of its own: a replica that was also chosen by its validation error would look better than the others
        seeds = (fold(self.study.seed, what, "sweep", "init"), fold(self.study.seed, what, "sweep", "order"))
        candidates = {f"rate {rate:g}": rate for rate in dict.fromkeys(rates)}
        self.sweeps[name, what] = trials = {
            label: self._run(
                name, replace(kind, what=f"try {what} at {rate:g}", seeds=seeds, rate=rate, choice=None, keep=())
            )
            for label, rate in candidates.items()
        }
        label = f"{name}: choose the learning rate of {what}"
        self.choices[name, what] = make("choose", {"candidates": candidates}, trials, label, 1)
        return self.choices[name, what]

    def _chosen_again(self, name: str, kind: _Kind, what: str) -> Step | None:
        """The choice of a rate for a further experiment, among the candidates of the arm."""
        rates = dict(self.study.arms.learning_rates).get(kind.arm, ())
        return self.choices.get((name, what)) or (self._sweep(name, what, kind, rates) if rates else None)

    def _cost(self, door: str, shots: int | None, recipe: Recipe, arm: str) -> tuple[float, float]:
        """Images through the network (three passes to learn from one, one to measure it), and those learned from."""
        training, watched = self.count(door, "train", shots), self.count(door, "validation")
        learned = recipe.epochs * training * (PROBE_SHARE if arm == "probe" else 1)
        measured = recipe.epochs * (training + watched) / recipe.evaluate_every + self.count(door, "test")
        return 3 * learned + measured, learned

    def _check_shots(self, name: str, target: Target) -> None:
        domain = self.opened[target.data]
        task = task_for(domain)
        if target.shots is not None and task != "classification":
            what = "may have several labels" if task == "multilabel" else "have no classes"
            raise ValueError(
                f"targets.{name}.shots is {target.shots}, but shots are examples of one class each, and those of "
                f"{target.data} {what}; leave shots out"
            )
        if target.shots is None:
            return
        there = Counter(record.target for record in domain.records if record.split == "train")
        for number, shown in enumerate(domain.classes):
            if there[number] < target.shots:
                raise ValueError(
                    f"targets.{name}.shots is {target.shots}, but class {shown!r} of {target.data} has {there[number]} "
                    f"training images; ask for at most {there[number]}"
                )

    def _check_probe(self) -> None:
        if "probe" in self.study.arms.controls and head_is_shared(self.model):
            raise ValueError(
                f"arms.controls has probe, but the head of {self.study.model} is also the table of its input tokens, "
                "so that nothing of it can stay frozen while the head learns; leave probe out"
            )


def _named(arms: Sequence[str], replicas: int) -> list[str]:
    return [f"{arm}/{number}" for arm in arms for number in range(replicas)]


def _words(block: BlockSize, size: int) -> str:
    if block == size:
        return "without shuffle"
    return "on pixels with colours" if block == "pixel-channel" else f"on blocks of {block}"


def _opened(door: str, calibration: str | None) -> Domain:
    opened = open_source(door)
    return opened if calibration is None else with_calibration(opened, open_source(calibration))


def _check_splits(door: str, domain: Domain, needed: Sequence[str]) -> None:
    splits: list[str] = [record.split for record in domain.records]
    for split in needed:
        least = LEAST_TEST if split == "test" else 1
        if splits.count(split) < least:
            raise ValueError(
                f"{door} has {splits.count(split)} images in {split}, and a study needs at least {least}; add images, "
                f"or name them yourself in a folder {split}/ beside the others"
            )


def _task(domain: Domain) -> dict[str, Any]:
    """The task as an argument; classification goes without saying."""
    found = task_for(domain)
    return {} if found == "classification" else {"task": found}


def _dumped(recipe: Recipe, *, sweep: bool) -> dict[str, Any]:
    dumped = recipe.model_dump(mode="json")
    if sweep:  # the rate comes from the sweep; the recipe's own has no influence
        del dumped["learning_rate"]
    return dumped
