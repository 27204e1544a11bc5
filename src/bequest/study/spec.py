"""What does a study file say?

A study is a YAML file read into frozen pydantic models. Unknown keys are errors that name the nearest known one; each
field has its range. The same models are dumped into the study's folder, so a report can say exactly what was asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bequest.data.source import Interpolation
from bequest.study.asked_task import Asked
from bequest.study.decision_options import Decisions
from bequest.study.options import FROM_THE_START, OF_GIVEN, Analyses, Measured, Part, refuse_twice, usual
from bequest.study.resources import Resources
from bequest.training.recipe import Recipe

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Control = Literal["meanvar", "shuffled", "probe"]
Arm = Literal["finetune", "randinit", "meanvar", "shuffled", "probe"]
Channels = tuple[float, float, float]
Spread = Annotated[float, Field(gt=0)]


class Source(Part):
    """Where the pre-trained weights come from: trained here on domains, or a file."""

    data: tuple[str, ...] = ()
    """Domains to pre-train on, together, as in `emoji:color`."""
    weights: Path | None = None
    """A file of weights instead of pre-training; relative to the study file, or `package:NAME/FILE`."""
    recipe: Recipe = Recipe()
    """How to pre-train."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if bool(self.data) == bool(self.weights):
            raise ValueError("give either `data` (domains to pre-train on) or `weights` (a file), not both or neither")
        return self


class Target(Part):
    """A data set to transfer to."""

    data: str
    """A domain, as in `emoji:line` or `folder:DIR`."""
    task: Asked = "auto"
    """`classification`, `multilabel` or `language-modelling`; `auto` takes what the data have targets for."""
    shots: int | None = Field(default=None, ge=1, le=1_000_000)
    """Training images a class; all of them if left out."""
    calibration: str | None = None
    """Beside given weights: a domain to refit BatchNorm on; then all images of `data` are measured."""


class Arms(Part):
    """The trainings of each target: `finetune/0…`, `randinit/0…`, `randinit/0b`, and those of the control arms."""

    replicas: int = Field(default=3, ge=1, le=100)
    """Repeats of each arm, with seeds of their own for init and order."""
    same_init: bool = True
    """Also train `randinit/0b`: the init of `randinit/0` with another data order."""
    controls: tuple[Control, ...] = ()
    """Control arms to train too: `meanvar`, `shuffled` (statistics of P's weights), `probe` (frozen P, new head)."""
    checkpoint_epochs: tuple[int, ...] | Literal["doubling"] = ()
    """Epochs after which every run keeps its weights, besides start, best and last; `doubling` is 1, 2, 4, 8, …"""
    learning_rates: dict[Arm, tuple[float, ...]] = Field(default={"finetune": (), "randinit": ()})
    """Candidates of each arm, equally many; chosen on validation. Empty: the recipe's rate, no sweep."""
    recipe: Recipe = Recipe()
    """How to train all arms."""

    @property
    def names(self) -> tuple[Arm, ...]:
        """The arms that are trained: the two of the study, then the control arms."""
        return ("finetune", "randinit", *self.controls)

    @model_validator(mode="after")
    def _equal_budget(self) -> Self:
        refuse_twice("controls", self.controls)
        swept = any(self.learning_rates.values())
        for arm in self.names:
            if self.learning_rates and arm not in self.learning_rates and (swept or arm not in self.controls):
                raise ValueError(f"{arm} is not named; give all arms equally many learning rates")
        for arm, rates in self.learning_rates.items():
            if arm not in self.names:
                raise ValueError(f"{arm} has learning rates but is not trained; add it to `controls` or leave it out")
            refuse_twice(arm, [f"{rate:g}" for rate in rates])  # so they are told apart in the results
        if swept and "learning_rate" in self.recipe.model_fields_set:
            raise ValueError("recipe.learning_rate has no influence beside learning_rates; leave one of them out")
        counts = {arm: len(rates) for arm, rates in self.learning_rates.items()}
        if len(set(counts.values())) > 1:
            numbers = " and ".join(f"{count} for {arm}" for arm, count in counts.items())
            raise ValueError(f"all arms need the same number of learning rates, not {numbers}")
        if any(not 0 < rate <= 100 for rates in self.learning_rates.values() for rate in rates):
            raise ValueError("learning rates must be above 0 and at most 100")
        return self

    @model_validator(mode="after")
    def _within_the_training(self) -> Self:
        if self.checkpoint_epochs != "doubling":
            refuse_twice("checkpoint_epochs", self.checkpoint_epochs)
            for epoch in self.checkpoint_epochs:
                if not 0 < epoch <= self.recipe.epochs:
                    raise ValueError(f"checkpoint_epochs has {epoch}, but an arm is trained for {self.recipe.epochs}")
        return self


class Study(Part):
    """A whole study: what is pre-trained, transferred, measured."""

    name: Name
    """Names the study's folder; letters, digits, dot, dash, underscore."""
    title: str = Field(default="", max_length=200)
    """Heading of the report."""
    model: str = "resnet8"
    """A built-in model, or `package.module:function`."""
    size: int = Field(default=64, ge=8, le=1024)
    """Images are size x size pixels."""
    interpolation: Interpolation = "lanczos"
    """The filter that reduces images to that size; published weights of a model may want another."""
    crop: float = Field(default=1.0, gt=0, le=1)
    """Share of the sides of an image's middle square that is kept before."""
    seed: int = Field(default=0, ge=0, lt=2**62)
    """Every random stream of the study is derived from it."""
    mean: Channels = (0.5, 0.5, 0.5)
    """Subtracted from each channel of images scaled to 0..1."""
    std: tuple[Spread, Spread, Spread] = (0.5, 0.5, 0.5)
    """Divides each channel after that."""
    source: Source | None = None
    """Where the pre-trained weights come from; beside `given` weights it may be left out."""
    given: dict[Name, Path] = Field(default_factory=dict)
    """Files of weights that are there already, by name: they are compared, and no arm is trained."""
    trust_pickle: bool = False
    """Run what pickled files of weights want to run. Only for files that you made."""
    tensorboard: bool = False
    """Also write TensorBoard's event files, into `tensorboard/` of the study's folder."""
    left_out: dict[str, str] = Field(default_factory=dict)
    """What is not measured, and why; the report says so. Written by `bequest compare`."""
    targets: dict[Name, Target] = Field(min_length=1)
    """Data sets to transfer to, by name; the first is the one nearest to the source."""
    arms: Arms = Arms()
    """What is trained on each target."""
    decisions: Decisions = Decisions()
    """What is decided: what to do, each tried out before it is said."""
    analyses: Analyses = Analyses()
    """What is measured."""
    resources: Resources = Resources()
    """What steps ask of a cluster (`--engine ray`), and how many devices train a run; no result depends on it."""

    def asked(self) -> dict[str, Measured]:
        """Give the options of the analyses to make, by name; without any the usual ones."""
        return self.analyses.named() or {
            name: kind() for name, kind in usual(len(self.given), self.source is not None).items()
        }

    @property
    def arm_of_given(self) -> str:
        """What the given weights are: fine-tunes of the source, or models of unknown origin."""
        return "finetune" if self.source else "model"

    @model_validator(mode="after")
    def _begins_somewhere(self) -> Self:
        if self.source is None and not self.given:
            raise ValueError("source is missing; say what to pre-train on (`data`) or which file has P (`weights`)")
        if not self.given:
            for name, target in self.targets.items():
                if target.calibration is not None:
                    raise ValueError(f"targets.{name}.calibration goes with `given` weights; arms have their own data")
            return self
        if "arms" in self.model_fields_set:
            raise ValueError("arms are not trained beside `given` weights; leave one of the two out")
        if self.source and not self.source.weights:
            raise ValueError("source.data would be pre-trained; beside `given` weights, name the file of P (`weights`)")
        for name in self.analyses.named().keys() & Analyses.model_fields.keys():
            if name not in OF_GIVEN or (name in FROM_THE_START and not self.source):
                need = "the weights that they started from (`source.weights`)" if name in OF_GIVEN else "trainings"
                raise ValueError(f"analyses.{name} needs {need}; given weights have none")
        return self

    @model_validator(mode="after")
    def _devices_have_examples(self) -> Self:
        devices = self.resources.training.devices
        if devices > 1 and self.given:
            raise ValueError(f"resources.training.devices is {devices}, but beside `given` weights nothing is trained")
        recipes = {"arms.recipe": self.arms.recipe}
        if self.source and self.source.data:
            recipes["source.recipe"] = self.source.recipe
        shuffled = self.analyses.block_shuffle
        if shuffled and isinstance(shuffled.recipe, Recipe):
            recipes["analyses.block_shuffle.recipe"] = shuffled.recipe
        for name, recipe in recipes.items():
            if recipe.batch_size < devices:
                raise ValueError(
                    f"resources.training.devices is {devices}, but a batch of {name} has {recipe.batch_size} examples, "
                    f"fewer than one for each; lower the devices or raise {name}.batch_size"
                )
        return self

    @model_validator(mode="after")
    def _can_decide(self) -> Self:
        for name, options in self.decisions.named().items():
            for target in options.targets:
                if target not in self.targets:
                    raise ValueError(
                        f"decisions.{name}.targets has {target}; the targets are {', '.join(self.targets)}"
                    )
            if self.given and name != "soup":
                raise ValueError(f"decisions.{name} needs trainings; given weights have none")
        if self.decisions.soup and len(self.given) == 1 and self.source is None:
            raise ValueError("decisions.soup needs two files of weights, or one and the weights that it started from")
        if self.decisions.freeze and self.decisions.freeze.replicas > self.arms.replicas:
            raise ValueError(
                f"decisions.freeze.replicas is {self.decisions.freeze.replicas}, but arms.replicas is "
                f"{self.arms.replicas}; lower the one or raise the other"
            )
        if self.decisions.checkpoint and self.source and self.source.weights:
            raise ValueError(
                "decisions.checkpoint needs a pre-training with its checkpoints; `source.weights` is one file: leave "
                "the decision out, or pre-train on `source.data`"
            )
        for epoch in (self.decisions.checkpoint.epochs or ()) if self.decisions.checkpoint else ():
            if self.source and not 0 <= epoch < self.source.recipe.epochs:
                last = self.source.recipe.epochs
                raise ValueError(f"decisions.checkpoint.epochs has {epoch}; the pre-training ends with epoch {last}")
        return self

    @model_validator(mode="after")
    def _asks_for_what_is_there(self) -> Self:
        for name, options in self.asked().items():
            for target in options.targets:
                if target not in self.targets:
                    raise ValueError(f"analyses.{name}.targets has {target}; the targets are {', '.join(self.targets)}")
        along = [
            name
            for name, options in self.asked().items()
            if "checkpoints" in getattr(options, "paths", ()) and not self.arms.checkpoint_epochs
        ]
        if along:
            raise ValueError(
                f"analyses.{along[0]}.paths asks for the checkpoints of the runs, and none are kept; add "
                "`checkpoint_epochs: doubling` to `arms`"
            )
        shuffle = self.analyses.block_shuffle
        for block in (shuffle.sizes or ()) if shuffle else ():
            if block != "pixel-channel" and (not 1 <= block < self.size or self.size % block):
                fit = ", ".join(str(one) for one in range(1, self.size) if self.size % one == 0)
                raise ValueError(
                    f"analyses.block_shuffle.sizes has {block}; in an image of {self.size} pixels blocks of {fit} fit"
                )
        if self.source is None:
            return self
        if self.analyses.checkpoints and self.source.weights:
            raise ValueError(
                "analyses.checkpoints needs a pre-training with its checkpoints; `source.weights` is one file: leave "
                "the analysis out, or pre-train on `source.data`"
            )
        for epoch in (self.analyses.checkpoints.epochs or ()) if self.analyses.checkpoints else ():
            if not 0 <= epoch < self.source.recipe.epochs:
                last = self.source.recipe.epochs
                raise ValueError(f"analyses.checkpoints.epochs has {epoch}; the pre-training ends with epoch {last}")
        return self
