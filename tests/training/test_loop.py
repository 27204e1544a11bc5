"""The loop learns, leaves what it should, and goes on after an interruption as if nothing had happened."""

import json
import time
from types import SimpleNamespace

import polars as pl
import pytest
import torch
from safetensors import safe_open
from torch import nn

from bequest.data.batches import Stored, to_tensor
from bequest.data.pack import pack
from bequest.data.source import Record, Source
from bequest.evaluation.tasks import task
from bequest.training.loop import Diverged, Examples, make_optimizer, train
from bequest.training.recipe import Recipe

MEAN = STD = (0.5, 0.5, 0.5)
NET = {"sgd": {"learning_rate": 0.05}, "adamw": {"optimizer": "adamw", "learning_rate": 3e-3}}


class Net(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        stream = torch.Generator().manual_seed(seed)
        self.conv1 = nn.Conv2d(3, 6, 3, 2, 1)
        self.bn1 = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 3)
        with torch.no_grad():
            for parameter in (self.conv1.weight, self.fc.weight):
                parameter.copy_(torch.randn(parameter.shape, generator=stream) * 0.2)
            self.conv1.bias.zero_()
            self.fc.bias.zero_()

    def forward(self, x):
        return self.fc(torch.relu(self.bn1(self.conv1(x))).mean((2, 3)))


def made(n=24, seed=0):
    """Images whose class is the brightest channel: learnable in a few epochs."""
    stream = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % 3
    images = torch.randint(0, 120, (n, 3, 8, 8), generator=stream)
    images[torch.arange(n), targets] += 100
    return images.to(torch.uint8), targets


def batches(n=12, seed=1):
    images, targets = made(n, seed)
    return [((images.float() / 255 - 0.5) / 0.5, targets)]


def learn(recipe, *, model=None, state=None, on_epoch=None, order_seed=3, **more):
    images, targets = made()
    kept = {}
    model = model or Net()
    trajectory = train(
        model,
        Examples(images, targets, 3, MEAN, STD),
        recipe=recipe,
        order_seed=order_seed,
        task=task("classification"),
        watch={"train": batches(24, 0), "validation": batches()},
        finally_watch={"test": batches(12, 2)},
        keep=kept.__setitem__,
        state=state,
        on_epoch=on_epoch,
        **more,
    )
    return trajectory, kept, model


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", NET)
def test_it_learns_and_leaves_metrics_and_checkpoints(kind):
    recipe = Recipe(epochs=20, batch_size=7, **NET[kind])
    trajectory, kept, model = learn(recipe, checkpoint_epochs=(1, 2, 4))
    assert set(kept) == {"step-0", "epoch-1", "epoch-2", "epoch-4", "best", "last"}
    assert same(kept["step-0"], Net().state_dict())
    assert same(kept["last"], model.state_dict())
    rows = trajectory.metrics.to_dicts()
    validation = [row for row in rows if row["split"] == "validation"]
    assert [row["epoch"] for row in validation] == list(range(21))
    assert [row["step"] for row in validation] == [4 * epoch for epoch in range(21)]  # 24 images in batches of 6
    assert validation[-1]["loss"] < 0.6 * validation[0]["loss"]
    assert [(row["epoch"], row["split"]) for row in rows if row["split"] == "test"] == [(20, "test")]
    best = min(validation[1:], key=lambda row: (row["error"], row["loss"]))
    assert trajectory.best_epoch == best["epoch"]


def test_metrics_are_those_of_the_checkpoints_evaluated_directly():
    from bequest.evaluation.predict import measure

    trajectory, kept, _ = learn(Recipe(epochs=3, batch_size=8))
    last = trajectory.metrics.filter(split="validation").row(-1, named=True)
    loss, error = measure(Net(), batches(), "classification", weights=kept["last"])
    assert error == last["error"]
    assert loss == pytest.approx(last["loss"], rel=1e-5)  # the trained model was in channels_last


class Stop(Exception):
    pass


def written_epoch(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["progress"])["epoch"]


def test_of_short_epochs_the_first_is_written_and_then_one_now_and_then(tmp_path):
    recipe = Recipe(epochs=3, batch_size=7)
    learn(recipe, state=tmp_path / "first", state_every=3600)
    assert written_epoch(tmp_path / "first") == 1
    whole, kept, _ = learn(recipe, state=tmp_path / "each")
    assert written_epoch(tmp_path / "each") == 3
    learn(recipe, state=tmp_path / "some", state_every=0.4, on_epoch=lambda epoch: time.sleep(0.5))
    assert written_epoch(tmp_path / "some") == 3
    again, kept_again, _ = learn(recipe, state=tmp_path / "first", model=Net(seed=9))
    assert again.metrics.equals(whole.metrics) and same(kept["last"], kept_again["last"])


@pytest.mark.parametrize("kind", NET)
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_resumed_training_ends_with_the_same_weights_bit_for_bit(tmp_path, kind, stop):
    recipe = Recipe(epochs=6, batch_size=7, augmentation="crop+flip+rotate", mixup=0.4, **NET[kind])
    whole, kept, _ = learn(recipe)

    def interrupt(epoch):
        if epoch == stop:
            raise Stop

    with pytest.raises(Stop):
        learn(recipe, state=tmp_path / "state", on_epoch=interrupt)
    seen = []
    resumed, kept_again, _ = learn(recipe, model=Net(seed=9), state=tmp_path / "state", on_epoch=seen.append)
    assert seen == list(range(stop + 1, 7))  # the epochs that were done are not done again
    assert resumed.metrics.equals(whole.metrics)
    assert same(kept["last"], kept_again["last"])
    assert same(kept["best"], kept_again["best"])


def test_a_broken_state_starts_afresh(tmp_path):
    recipe = Recipe(epochs=2, batch_size=8)
    (tmp_path / "state").write_bytes(b"half a file")
    _, kept, _ = learn(recipe, state=tmp_path / "state")
    assert same(kept["last"], learn(recipe)[1]["last"])


def test_the_order_seed_decides_everything_random():
    recipe = Recipe(epochs=2, batch_size=8, augmentation="crop")
    first, again, other = (learn(recipe, order_seed=seed)[1]["last"] for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)


def test_the_global_generator_is_left_alone():
    model = Net()
    before = torch.get_rng_state()
    learn(Recipe(epochs=1, batch_size=8, augmentation="crop+flip", mixup=0.5), model=model)
    assert torch.equal(before, torch.get_rng_state())


def test_a_loss_that_is_not_finite_ends_the_training_with_where_and_why():
    model = Net()
    with torch.no_grad():
        model.fc.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="epoch 1, step 1, at learning rate"):
        learn(Recipe(epochs=2, batch_size=8), model=model)


def test_weights_broken_by_the_last_step_are_a_failure_too():
    """The loss before the last step is finite; what it leaves is not."""
    model = Net()
    images, targets = made()
    with pytest.raises(Diverged, match="on train, at learning rate"):
        train(
            model,
            Examples(images, targets, 3, MEAN, STD),
            recipe=Recipe(epochs=1, batch_size=24, learning_rate=100.0, warmup=0, weight_decay=0),
            order_seed=0,
            task=task(lambda outputs, targets: (outputs * 1e37).mean()),
            watch={"train": batches(24, 0)},
            keep=lambda name, weights: None,
        )


class Dropping(Net):
    def forward(self, x):
        hidden = torch.relu(self.bn1(self.conv1(x))).mean((2, 3))
        return self.fc(nn.functional.dropout(hidden, 0.5, self.training))


def test_dropout_is_repeated_and_resumed_and_leaves_the_global_generator_alone(tmp_path):
    recipe = Recipe(epochs=4, batch_size=8)
    model = Dropping()
    before = torch.get_rng_state()
    _, kept, _ = learn(recipe, model=model)
    assert torch.equal(before, torch.get_rng_state())

    def interrupt(epoch):
        if epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        learn(recipe, model=Dropping(), state=tmp_path / "state", on_epoch=interrupt)
    _, resumed, _ = learn(recipe, model=Dropping(), state=tmp_path / "state")
    assert same(kept["last"], resumed["last"])
    assert not same(kept["last"], learn(recipe, model=Dropping(), order_seed=4)[1]["last"])


def test_biases_and_scales_can_have_a_smaller_rate_as_in_the_papers_fixup_training():
    optimizer = make_optimizer(Net(), Recipe(scalar_factor=0.1))
    usual, small = optimizer.param_groups
    assert (usual["factor"], small["factor"]) == (1.0, 0.1)
    assert [tuple(p.shape) for p in small["params"]] == [(6,), (6,), (3,)]  # conv1.bias, bn1.bias, fc.bias


def test_bfloat16_stays_near_float32():
    recipe = Recipe(epochs=10, batch_size=8, learning_rate=0.05)
    full, _, _ = learn(recipe)
    half, kept, _ = learn(recipe.model_copy(update={"precision": "bfloat16"}))
    losses = [run.metrics.filter(split="train")["loss"][-1] for run in (full, half)]
    assert losses[1] == pytest.approx(losses[0], rel=0.15)
    assert kept["last"]["conv1.weight"].dtype == torch.float32


def test_a_probe_learns_its_head_alone_and_leaves_weights_and_statistics_of_the_rest():
    model = Net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    _, kept, _ = learn(Recipe(epochs=3, batch_size=8, learning_rate=0.1), model=model, learns=("fc",))
    for name, tensor in kept["last"].items():
        assert torch.equal(tensor, before[name]) == (not name.startswith("fc.")), name
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_was_frozen_by_the_caller_stays_frozen():
    model = Net()
    model.conv1.weight.requires_grad_(False)
    learn(Recipe(epochs=1, batch_size=8), model=model, learns=("fc",))
    assert not model.conv1.weight.requires_grad
    assert model.bn1.weight.requires_grad


def test_errors_are_measured_every_so_many_epochs_at_the_end_and_where_weights_are_kept():
    recipe = Recipe(epochs=7, batch_size=8, evaluate_every=3)
    trajectory, _, _ = learn(recipe, checkpoint_epochs=(1,))
    for split in ("train", "validation"):
        assert trajectory.metrics.filter(pl.col("split") == split)["epoch"].to_list() == [0, 1, 3, 6, 7]


def test_measuring_less_often_does_not_change_what_is_learned():
    often, seldom = (learn(Recipe(epochs=4, batch_size=8, evaluate_every=every))[1]["last"] for every in (1, 4))
    assert same(often, seldom)


def test_the_model_sees_what_it_is_shown_with_the_places_of_the_images():
    images, _ = made()
    seen = []

    def see(batch, places):
        seen.append((batch, places))
        return batch.flip(0)

    learn(Recipe(epochs=1, batch_size=8), see=see)
    assert sorted(torch.cat([places for _, places in seen]).tolist()) == list(range(24))
    for batch, places in seen:
        assert torch.allclose(batch, (images[places].float() / 255 - 0.5) / 0.5)


def test_images_that_stay_in_their_arrays_teach_the_same(tmp_path):
    images, targets = made()
    records = [
        Record(f"n{i}", f"n{i}", int(target), lambda size, i=i: images[i].permute(1, 2, 0).numpy(), "train")
        for i, target in enumerate(targets)
    ]
    packed = pack(Source("made", ("a", "b", "c"), tuple(records), ""), tmp_path, size=8)
    kept = []
    for seen in (to_tensor(packed, packed.indices("train")), Stored([(packed, packed.indices("train"))])):
        last = {}
        train(
            Net(),
            Examples(seen, targets, 3, MEAN, STD),
            recipe=Recipe(epochs=2, batch_size=8),
            order_seed=0,
            task=task("classification"),
            watch={},
            keep=last.__setitem__,
        )
        kept.append(last["last"])
    assert same(*kept)


class Bag(nn.Module):
    """The mean of the tokens that count, and a linear layer; gives an object with logits, as transformers do."""

    def __init__(self):
        super().__init__()
        self.embedding, self.fc = nn.Embedding(10, 4), nn.Linear(4, 2)

    def forward(self, input_ids, attention_mask):
        shares = attention_mask / attention_mask.sum(1, keepdim=True)
        return SimpleNamespace(logits=self.fc((self.embedding(input_ids) * shares[..., None]).sum(1)))


def learn_texts(**more):
    stream = torch.Generator().manual_seed(0)
    tokens, targets = torch.randint(5, 10, (40, 6), generator=stream), torch.arange(40) % 2
    tokens[:, 0] = 2 + targets  # the first token tells
    inputs = {"input_ids": tokens, "attention_mask": torch.ones(40, 6, dtype=torch.int64)}
    kept = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Bag()
    recipe = Recipe(epochs=8, batch_size=10, optimizer="adamw", learning_rate=0.05, augmentation="crop+flip", **more)
    trajectory = train(
        model,
        Examples(inputs, targets, 2, MEAN, STD),
        recipe=recipe,
        order_seed=0,
        task=task("classification"),
        watch={"train": [(inputs, targets)]},
        keep=kept.__setitem__,
    )
    return trajectory, kept


def test_texts_are_given_by_name_and_learned():
    trajectory, kept = learn_texts()
    errors = trajectory.metrics["error"].to_list()
    assert errors[0] > 0.3 and errors[-1] < 0.05
    again = learn_texts()[1]
    assert all(torch.equal(kept["last"][name], tensor) for name, tensor in again["last"].items())


def test_texts_cannot_be_mixed():
    with pytest.raises(ValueError, match="texts can be neither mixed"):
        learn_texts(mixup=0.3)


def test_labels_are_learned_and_mixed_with_those_that_are_missing():
    images, targets = made()
    labels = torch.nn.functional.one_hot(targets, 3).float()
    labels[::5, 0] = torch.nan
    model = Net()
    trajectory = train(
        model,
        Examples(images, labels, 3, MEAN, STD),
        recipe=Recipe(epochs=12, batch_size=8, mixup=0.2, augmentation="none", **NET["adamw"]),
        order_seed=0,
        task=task("multilabel"),
        watch={"train": [((images.float() / 255 - 0.5) / 0.5, labels)]},
        keep=lambda name, weights: None,
    )
    errors = trajectory.metrics["error"].to_list()
    assert errors[-1] < min(0.2, errors[0])
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


@pytest.mark.parametrize("kind", NET)
def test_a_pace_of_one_changes_nothing_and_one_of_zero_stops_a_tensor(kind):
    recipe = Recipe(epochs=3, batch_size=8, scalar_factor=0.5, **NET[kind])
    asked = []

    def slow(epoch):
        asked.append(epoch)
        return {"conv1.weight": 0.0, "fc.weight": 1.0 if epoch else 0.0}

    plain, paced = learn(recipe)[1], learn(recipe, pace=lambda epoch: {})[1]
    for name, tensor in plain["last"].items():
        torch.testing.assert_close(paced["last"][name], tensor, rtol=1e-6, atol=1e-7)
    stopped = learn(recipe, pace=slow, checkpoint_epochs=(1,))[1]
    assert asked == [0, 1, 2]
    assert torch.equal(stopped["last"]["conv1.weight"], stopped["step-0"]["conv1.weight"])
    assert torch.equal(stopped["epoch-1"]["fc.weight"], stopped["step-0"]["fc.weight"])
    assert not torch.equal(stopped["last"]["fc.weight"], stopped["step-0"]["fc.weight"])
    assert not torch.equal(stopped["epoch-1"]["fc.bias"], stopped["step-0"]["fc.bias"])


def test_a_paced_training_goes_on_after_an_interruption_bit_for_bit(tmp_path):
    recipe = Recipe(epochs=4, batch_size=7, **NET["sgd"])

    def pace(epoch):
        return {"conv1.weight": 0.1 * (epoch + 1)}

    def interrupt(epoch):
        if epoch == 2:
            raise Stop

    whole = learn(recipe, pace=pace)[1]
    with pytest.raises(Stop):
        learn(recipe, pace=pace, state=tmp_path / "state", on_epoch=interrupt)
    assert same(learn(recipe, pace=pace, state=tmp_path / "state", model=Net(seed=9))[1]["last"], whole["last"])
