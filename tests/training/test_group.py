"""1, 2 and 3 processes train as one does. They are started once, run every case, and leave what came out in files."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bequest.evaluation.tasks import task
from bequest.models.opening import open_model
from bequest.training.group import Group, group_of
from bequest.training.loop import Examples, train
from bequest.training.recipe import Recipe
from bequest.training.shuffling import Shuffle

CPU = torch.device("cpu")
CLOSE = {"rtol": 1e-3, "atol": 1e-5}  # of weights after some 20 steps in float32; what is stated in docs/scale.md
EPOCHS = 4


class Words(nn.Module):
    """A tiny model of language: an embedding, a look at the token before, a head."""

    def __init__(self):
        super().__init__()
        self.table, self.unused = nn.Embedding(11, 8), nn.Linear(3, 3)
        self.before, self.head = nn.Linear(16, 8), nn.Linear(8, 11)

    def forward(self, tokens):
        here = self.table(tokens)
        return self.head(torch.tanh(self.before(torch.cat([here, here.roll(1, 1)], -1))))


def learned(kind, group=None, **more):
    """Train; give metrics, checkpoints."""
    stream = torch.Generator().manual_seed(5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Words() if kind == "text" else open_model("resnet8", classes=3, seed=1)
    if kind == "text":
        tokens = torch.randint(0, 11, (21, 6), generator=stream)
        targets = tokens.masked_fill(torch.rand(21, 6, generator=stream) < 0.3, -100)
        targets[:3] = -100  # a part of a batch may have nothing to say
        examples = Examples({"tokens": tokens}, targets, 0, (0,) * 3, (1,) * 3)
        every = [({"tokens": tokens[n : n + 5]}, targets[n : n + 5]) for n in range(0, 21, 5)]
        recipe, see = Recipe(epochs=EPOCHS, batch_size=4, optimizer="adamw", learning_rate=3e-3), None
    else:
        pixels = torch.randint(0, 255, (23, 3, 16, 16), generator=stream, dtype=torch.uint8)
        targets = torch.arange(23) % 3
        if kind == "labels":
            targets = (torch.rand(23, 3, generator=stream) < 0.5).float()
            targets[torch.rand(23, 3, generator=stream) < 0.4] = torch.nan
        examples = Examples(pixels, targets, 3, (0.5,) * 3, (0.5,) * 3)
        every = [(pixels[n : n + 5] / 255 - 0.5, targets[n : n + 5]) for n in range(0, 23, 5)]
        mixed = {"mixup": 0.4, "augmentation": "crop+flip"} if kind == "mixed" else {}
        recipe = Recipe(epochs=EPOCHS, batch_size=8, learning_rate=0.01, **mixed)
        shuffle = Shuffle(8, "per_image", 0)
        see = (lambda batch, places: shuffle(batch, "train", places)) if kind == "mixed" else None
    own = every[group.rank :: group.size] if group else every
    name = {"text": "language-modelling", "labels": "multilabel"}.get(kind, "classification")
    kept = {}
    trajectory = train(
        model,
        examples,
        recipe=recipe,
        order_seed=3,
        task=task(name),
        watch={"train": own, "validation": own},
        checkpoint_epochs=(2,),
        keep=kept.__setitem__,
        see=see,
        group=group,
        **more,
    )
    return trajectory.metrics, kept


class Stopped(Exception):
    """As a kill between two epochs."""


def stop_after_two(epoch):
    if epoch == 2:
        raise Stopped


CASES = [("mixed", 1), ("mixed", 2), ("mixed", 3), ("plain", 3), ("text", 2), ("text", 3), ("labels", 3)]


def main(rank, folder):
    """What each of the processes does."""
    torch.set_num_threads(1)
    for kind, size in [*CASES, ("interrupted", 3), ("apart", 3)]:
        if rank >= size:
            continue
        with group_of(rank, size, device=CPU, meeting=folder / f"{kind}-{size}", patience=30) as group:
            if kind == "apart":
                model = nn.Linear(2, 2)
                with torch.no_grad():
                    model.weight.fill_(0)
                    model.bias.fill_(float(rank == 2))
                try:
                    group.check_alike(model, "in a test")
                except RuntimeError as error:
                    (folder / f"apart-{rank}.txt").write_text(str(error))
                continue
            if kind == "interrupted":
                state = folder / "state.safetensors"
                try:
                    learned("mixed", group, state=state, on_epoch=stop_after_two)
                except Stopped:
                    group.wait()
                metrics, kept = learned("mixed", group, state=state)
            else:
                metrics, kept = learned(kind, group)
            if group.first:
                metrics.write_parquet(folder / f"{kind}-{size}.parquet")
                save_file(kept["last"], folder / f"{kind}-{size}.safetensors")
            (folder / f"{kind}-{size}-{rank}.json").write_text(json.dumps(sorted(kept)))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("group")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-P", __file__]
    running = [subprocess.Popen([*command, str(rank), str(folder)], env=environment) for rank in range(3)]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]
    return folder


def alone(kind, made={}):  # noqa: B006 - a cache
    if kind not in made:
        made[kind] = learned(kind)
    return made[kind]


@pytest.mark.parametrize(("kind", "size"), CASES)
def test_so_many_processes_learn_what_one_does(done, kind, size):
    import polars as pl

    metrics, kept = alone(kind)
    found = pl.read_parquet(done / f"{kind}-{size}.parquet")
    assert found.drop("loss", "error").equals(metrics.drop("loss", "error"))
    assert found["error"].to_list() == pytest.approx(metrics["error"].to_list(), abs=1e-12)
    assert found["loss"].to_list() == pytest.approx(metrics["loss"].to_list(), rel=1e-4)
    weights = load_file(done / f"{kind}-{size}.safetensors")
    moved = max(float((kept["last"][name] - kept["step-0"][name]).abs().max()) for name in weights)
    assert moved > 0.01
    for name, tensor in kept["last"].items():
        torch.testing.assert_close(weights[name], tensor, **CLOSE, msg=lambda text, name=name: f"{name}: {text}")


def test_only_the_first_process_keeps_checkpoints(done):
    assert json.loads((done / "mixed-3-0.json").read_text()) == ["best", "epoch-2", "last", "step-0"]
    assert [json.loads((done / f"mixed-3-{rank}.json").read_text()) for rank in (1, 2)] == [[], []]


def test_interrupted_and_gone_on_is_bit_for_bit_what_it_would_have_been(done):
    import polars as pl

    assert pl.read_parquet(done / "interrupted-3.parquet").equals(pl.read_parquet(done / "mixed-3.parquet"))
    went_on, undisturbed = (load_file(done / f"{name}-3.safetensors") for name in ("interrupted", "mixed"))
    assert went_on.keys() == undisturbed.keys()
    assert all(torch.equal(went_on[name], undisturbed[name]) for name in went_on)


def test_processes_that_came_apart_all_say_so(done):
    for rank in range(3):
        assert (done / f"apart-{rank}.txt").read_text().startswith("bias is not the same on all 3 devices in a test")


def test_the_parts_of_a_batch_are_all_of_it_and_weighted_by_what_counts():
    for count, size in itertools.product(range(3, 20), (1, 2, 3)):
        parts = [Group(rank, size, CPU).part(count) for rank in range(size)]
        assert [n for part in parts for n in range(count)[part]] == list(range(count))
        assert max(p.stop - p.start for p in parts) - min(p.stop - p.start for p in parts) <= 1
    goal = torch.tensor([[1, 2, 3], [1, -100, 3], [1, -100, -100]])
    weights = [Group(rank, 3, CPU).weight(task("language-modelling"), goal) for rank in range(3)]
    assert weights == pytest.approx([2 / 3, 1 / 3, 0])
    assert Group(0, 2, CPU).weight(task("classification"), torch.zeros(5)) == 3 / 5


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
