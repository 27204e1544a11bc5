import copy
from itertools import combinations

import polars as pl
import pytest
import torch
from torch import nn

from bequest.analyses.barrier import barrier, chart, verdict
from bequest.analyses.result import table
from bequest.evaluation.batchnorm import refit_batchnorm
from bequest.evaluation.predict import measure, predict
from bequest.models.opening import open_model

CLASSES = 4


class Scaled(nn.Module):
    """A two-layer convolutional net: with BatchNorm, or with the scalars of Fixup."""

    def __init__(self, batchnorm, classes=CLASSES):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, bias=False), nn.Conv2d(8, 8, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8) if batchnorm else nn.Identity()
        self.bn2 = nn.BatchNorm2d(8) if batchnorm else nn.Identity()
        self.bias, self.scale = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)) + self.bias)
        x = torch.relu(self.bn2(self.conv2(x)) * self.scale)
        return self.fc(x.amax((2, 3)))


def data(seed, sizes):
    """Images of one of four patterns at random places, in noise."""
    patterns = torch.randn(CLASSES, 3, 3, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for size in sizes:
        targets = torch.randint(0, CLASSES, (size,), generator=generator)
        images = 0.5 * torch.randn(size, 1, 8, 8, generator=generator) + 2
        for image, target in zip(images, targets, strict=True):
            row, column = torch.randint(0, 6, (2,), generator=generator).tolist()
            image[0, row : row + 3, column : column + 3] += 2 * patterns[target]
        batches.append((images, targets))
    return batches


TRAIN, TEST = data(0, (32, 32, 32)), data(1, (32, 32, 10))


def trained(batchnorm, seed, steps=120):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Scaled(batchnorm)
        if not batchnorm:
            for conv in (model.conv1, model.conv2):
                nn.init.kaiming_normal_(conv.weight)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for step in range(steps):
            images, targets = TRAIN[step % 3]
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images), targets).backward()
            optimiser.step()
    return model.eval()


@pytest.fixture(scope="module")
def with_batchnorm():
    return {"a": trained(True, 0), "b": trained(True, 1)}


@pytest.fixture(scope="module")
def without_batchnorm():
    return {"a": trained(False, 0), "b": trained(False, 1)}


def weights_of(models):
    return {name: copy.deepcopy(model.state_dict()) for name, model in models.items()}


def permuted(weights, order):
    """The same function with the hidden channels of the first layer in another order."""
    moved = dict(weights)
    for name, tensor in weights.items():
        if name == "conv2.weight":
            moved[name] = tensor[:, order].clone()
        elif name == "conv1.weight" or (name.startswith("bn1.") and tensor.ndim):
            moved[name] = tensor[order].clone()
    return moved


@pytest.mark.parametrize("kind", ["with_batchnorm", "without_batchnorm"])
def test_a_permuted_copy_is_the_same_function_far_away_and_undone_it_is_the_same_point(kind, request):
    model = request.getfixturevalue(kind)["a"]
    weights = model.state_dict()
    order = torch.tensor([3, 0, 7, 1, 6, 2, 4, 5])
    copy_ = permuted(weights, order)
    torch.testing.assert_close(measure(model, TEST, weights=copy_)[0], measure(model, TEST)[0], rtol=1e-4, atol=1e-5)
    ends = {"a": weights, "copy": copy_, "back": permuted(copy_, order.argsort())}
    result = barrier(model, ends, TEST, points=5, calibration=TRAIN)
    suffix = "_naive" if kind == "with_batchnorm" else ""
    assert result.value(f"barrier_loss{suffix}", a="a", b="copy") > 0.3
    for metric in ("barrier_loss", "barrier_error", f"barrier_loss{suffix}", "barrier_error_midpoint"):
        assert result.value(metric, a="a", b="back") == 0.0


def in_colour(batches):
    return [(images.repeat(1, 3, 1, 1), targets) for images, targets in batches]


def hidden_channels_moved(weights, order):
    """A ResNet whose blocks have their inner channels in another order, given by block."""
    moved = dict(weights)
    for block, places in order.items():
        for name, tensor in weights.items():
            if name == f"{block}.conv2.weight":
                moved[name] = tensor[:, places].clone()
            elif name == f"{block}.conv1.weight" or (name.startswith(f"{block}.bn1.") and tensor.ndim):
                moved[name] = tensor[places].clone()
    return moved


@pytest.mark.parametrize("name", ["resnet8", "fixup_resnet8"])
def test_a_built_in_resnet_with_its_inner_channels_moved_is_the_same_function_behind_a_barrier(name):
    model, train, test = open_model(name, classes=CLASSES, seed=0), in_colour(TRAIN), in_colour(TEST)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01 if name == "resnet8" else 0.003)
    for step in range(40):
        images, targets = train[step % 3]
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), targets).backward()
        optimiser.step()
    weights = copy.deepcopy(model.eval().state_dict())
    if name == "resnet8":
        assert weights["layer2.0.bn1.running_var"].std() > 0.01 and weights["layer2.0.bn1.running_mean"].std() > 0.01
    generator = torch.Generator().manual_seed(1)
    widths = {f"layer{k}.0": weights[f"layer{k}.0.conv1.weight"].shape[0] for k in (1, 2, 3)}
    order = {block: torch.randperm(width, generator=generator) for block, width in widths.items()}
    moved = hidden_channels_moved(weights, order)
    back = hidden_channels_moved(moved, {block: places.argsort() for block, places in order.items()})
    outputs = [predict(model, test, weights=one).outputs for one in (weights, moved)]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-4)
    ends = {"a": weights, "moved": moved, "back": back}
    splits, pairs = {"train": train, "test": test}, [("a", "moved"), ("a", "back")]
    result = barrier(model, ends, splits, points=5, calibration=train, pairs=pairs)
    suffixes = ["", "_naive"] if name == "resnet8" else [""]
    assert result.value(f"error{suffixes[-1]}", b="moved", split="train", x=0.5) > 0.1
    for suffix in suffixes:
        end, middle = (result.value(f"loss{suffix}", b="moved", split="train", x=x) for x in (0.0, 0.5))
        assert middle > 2 * end and result.value(f"barrier_loss{suffix}", b="moved", split="train") > 0.02
        assert result.value(f"error{suffix}", b="moved", split="train", x=0.0) < 0.1
        for metric in (f"barrier_loss{suffix}", f"barrier_error{suffix}"):
            for split in splits:
                assert result.value(metric, b="back", split=split) == 0.0


def test_the_naive_midpoint_of_a_permuted_copy_is_worse_than_the_refitted_one(with_batchnorm):
    model = with_batchnorm["a"]
    ends = {"a": model.state_dict(), "b": permuted(model.state_dict(), torch.arange(7, -1, -1))}
    result = barrier(model, ends, TEST, points=3, calibration=TRAIN)
    assert result.value("error_naive", x=0.5) > result.value("error", x=0.5)


def test_ends_are_the_direct_evaluation_under_the_same_protocol(with_batchnorm):
    model, ends = with_batchnorm["a"], weights_of(with_batchnorm)
    result = barrier(model, ends, {"train": TRAIN, "test": TEST}, points=3, calibration=TRAIN)
    for name, t in (("a", 0.0), ("b", 1.0)):
        refitted = refit_batchnorm(model, ends[name], TRAIN)
        for split, batches in (("train", TRAIN), ("test", TEST)):
            for suffix, weights in (("", refitted), ("_naive", ends[name])):
                loss, error = measure(model, batches, weights=weights)
                assert result.value(f"loss{suffix}", x=t, split=split) == loss
                assert result.value(f"error{suffix}", x=t, split=split) == error


def test_the_middle_is_the_mean_of_the_weights(without_batchnorm):
    model, ends = without_batchnorm["a"], weights_of(without_batchnorm)
    mean = {name: (ends["a"][name] + ends["b"][name]) / 2 for name in ends["a"]}
    result = barrier(model, ends, TEST, points=5, calibration=TRAIN)
    assert result.value("loss", x=0.5) == pytest.approx(measure(model, TEST, weights=mean)[0], abs=1e-6)
    assert result.rows.filter(pl.col("metric").str.ends_with("_naive")).is_empty()


@pytest.mark.parametrize("kind", ["with_batchnorm", "without_batchnorm"])
def test_from_a_to_b_is_from_b_to_a(kind, request):
    models = request.getfixturevalue(kind)
    ends = weights_of(models)
    forth = barrier(models["a"], ends, TEST, points=7, calibration=TRAIN)
    back = barrier(models["b"], {"b": ends["b"], "a": ends["a"]}, TEST, points=7, calibration=TRAIN)
    metrics = [name for name in forth.rows["metric"].unique() if name.startswith("barrier_")]
    assert len(metrics) == (10 if kind == "with_batchnorm" else 8)
    for metric in metrics:
        assert forth.value(metric) == pytest.approx(back.value(metric), abs=1e-6)


def test_the_barrier_is_that_of_the_curve(without_batchnorm):
    result = barrier(without_batchnorm["a"], weights_of(without_batchnorm), TEST, points=5)
    losses = result.select("loss")["value"].to_list()
    assert result.select("loss")["x"].to_list() == [0.0, 0.25, 0.5, 0.75, 1.0]
    chord = [losses[0] + t * (losses[-1] - losses[0]) for t in (0, 0.25, 0.5, 0.75, 1)]
    assert result.value("barrier_loss") == pytest.approx(max(x - y for x, y in zip(losses, chord, strict=True)))
    assert result.value("barrier_loss_frankle") == pytest.approx(max(losses) - (losses[0] + losses[-1]) / 2)
    row = result.select("error", x=0.5).row(0, named=True)
    assert row["low"] <= row["value"] <= row["high"] and row["n"] == 74 and row["split"] is None


def test_frozen_parameters_are_on_the_line_too(without_batchnorm):
    ends = weights_of(without_batchnorm)
    frozen = copy.deepcopy(without_batchnorm["a"])
    frozen.conv1.requires_grad_(False)
    wanted = barrier(without_batchnorm["a"], ends, TEST, points=3)
    assert barrier(frozen, ends, TEST, points=3).rows.equals(wanted.rows)


def test_the_model_is_left_as_it_was_and_may_be_an_end_itself(with_batchnorm):
    model = copy.deepcopy(with_batchnorm["a"]).train()
    model.bn2.eval()
    other = copy.deepcopy(with_batchnorm["b"].state_dict())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    own = barrier(model, {"b": other, "a": model.state_dict()}, TEST, points=3, calibration=TRAIN)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert int(model.bn1.num_batches_tracked) == 120
    assert model.training and model.bn1.training and not model.bn2.training
    assert torch.equal(state, torch.get_rng_state())
    assert own.rows.equals(barrier(model, {"b": other, "a": before}, TEST, points=3, calibration=TRAIN).rows)


def test_without_calibration_only_naive_numbers_are_given_and_said_so(with_batchnorm):
    result = barrier(with_batchnorm["a"], weights_of(with_batchnorm), TEST, points=3)
    assert set(result.rows["metric"]) == {
        *("error_naive", "loss_naive", "barrier_error_naive", "barrier_loss_naive", "chance_accuracy")
    }
    assert "calibration=" in result.select("barrier_error_naive")["note"][0]


def test_each_endpoint_is_evaluated_once_for_all_pairs(without_batchnorm):
    model, ends = without_batchnorm["a"], weights_of(without_batchnorm)
    ends |= {"c": ends["a"], "d": ends["b"]}
    calls = []
    handle = model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        result = barrier(model, ends, TEST, points=5)
    finally:
        handle.remove()
    assert len(calls) == len(TEST) * (4 + 6 * 3)
    assert result.select("barrier_error").height == 6
    chosen = barrier(model, ends, TEST, points=3, pairs=[("d", "a")])
    assert chosen.select("barrier_loss").select("a", "b").rows() == [("d", "a")]


def test_it_tells_how_far_it_is_after_each_pair(without_batchnorm):
    told = []
    ends = weights_of(without_batchnorm)
    barrier(without_batchnorm["a"], ends | {"c": ends["a"]}, TEST, points=3, tell=told.append)
    assert told == [1 / 3, 2 / 3, 1]


def test_a_loss_of_ones_own(without_batchnorm):
    def doubled(outputs, targets):
        return 2 * nn.functional.cross_entropy(outputs, targets)

    ends = weights_of(without_batchnorm)
    result = barrier(without_batchnorm["a"], ends, TEST, points=3, task=doubled)
    plain = barrier(without_batchnorm["a"], ends, TEST, points=3)
    assert result.value("loss", x=0.5) == pytest.approx(2 * plain.value("loss", x=0.5))
    assert result.value("error", x=0.5) == result.value("loss", x=0.5)
    assert result.select("chance_accuracy").is_empty()


def test_a_loss_that_is_not_finite_has_no_value(without_batchnorm):
    ends = weights_of(without_batchnorm)
    ends["b"]["fc.weight"] = torch.full_like(ends["b"]["fc.weight"], float("inf"))
    row = barrier(without_batchnorm["a"], ends, TEST, points=3).select("barrier_loss").row(0, named=True)
    assert row["value"] is None and "not finite" in row["note"]


def test_what_has_no_line_is_refused(without_batchnorm):
    model, ends = without_batchnorm["a"], weights_of(without_batchnorm)
    head = ends | {"b": ends["b"] | {"fc.weight": torch.ones(9, 8), "fc.bias": torch.ones(9)}}
    with pytest.raises(ValueError, match=r"no line between 'a' and 'b'.*fc\.weight.*numbers of classes"):
        barrier(model, head, TEST)
    with pytest.raises(ValueError, match="do not fit the model"):
        barrier(Scaled(False, classes=9), ends, TEST)
    with pytest.raises(ValueError, match="two endpoints; got 1: a"):
        barrier(model, {"a": ends["a"]}, TEST)
    with pytest.raises(ValueError, match="at least 3 points"):
        barrier(model, ends, TEST, points=2)
    with pytest.raises(ValueError, match="no endpoint 'finetune/9'; the nearest is 'finetune/0'"):
        barrier(model, {"finetune/0": ends["a"], "x": ends["b"]}, TEST, pairs=[("x", "finetune/9")])
    with pytest.raises(ValueError, match="no task"):
        barrier(model, ends, TEST, task="clasification")


def study(tuned, random, same, *, splits=("train", "test"), replicas=3, error=0.1, suffix="", spread=0.005, inits=3):
    """Rows as a study has them: one height of barrier for each kind of pair."""
    names = [f"{arm}/{k}" for arm in ("finetune", "randinit") for k in range(replicas)]
    pairs = [pair for pair in combinations(names, 2) if pair[0][:8] == pair[1][:8]]
    if same is not None:
        pairs += [(f"randinit/{k}", f"randinit/{k}b") for k in range(inits)]
    rows = []
    for split in splits:
        rows.append({"metric": "chance_accuracy", "split": split, "value": 0.1, "n": 100})
        for index, (a, b) in enumerate(pairs):
            height = same if b.endswith("b") else tuned if a.startswith("fine") else random
            row = {"a": a, "b": b, "split": split, "n": 100}
            rows.append({**row, "metric": f"barrier_error{suffix}", "value": height + spread * (index % 3) / 3})
            rows += [{**row, "metric": f"error{suffix}", "x": t, "value": error} for t in (0.0, 0.5, 1.0)]
    return table("barrier", rows)


@pytest.mark.parametrize(
    ("rows", "basin", "apart"),
    [
        (study(0.0, 0.4, 0.3), "holds", "holds"),
        (study(0.0, 0.4, 0.0), "holds", "holds under conditions"),
        (study(0.0, 0.4, None), "holds", "holds under conditions"),
        (study(0.0, 0.4, 0.3, inits=1), "holds", "holds under conditions"),  # one pair has no interval
        (study(0.0, 0.4, 0.3, inits=2), "holds", "holds under conditions"),
        (study(0.0, 0.4, 0.021, spread=0.012), "inconclusive", "holds under conditions"),  # both cross 2 points
        (study(0.0, 0.4, 0.3, splits=("test",)), "holds under conditions", "holds"),
        (study(0.3, 0.4, 0.3), "does not hold", "holds"),
        (study(0.0, 0.0, 0.0), "inconclusive", "does not hold"),
        (study(0.018, 0.4, 0.3), "inconclusive", "holds"),  # the interval crosses two points
        (study(0.0, 0.4, 0.3, replicas=2), "inconclusive", "inconclusive"),
        (study(0.0, 0.4, 0.3, error=0.85), "inconclusive", "inconclusive"),  # 15 % right of 10 % by chance
        (study(0.0, 0.4, 0.3, suffix="_naive"), "inconclusive", "inconclusive"),
    ],
)
def test_the_verdicts_on_both_claims(rows, basin, apart):
    judged = verdict(rows)
    assert [(one.claim, one.status) for one in judged] == [("C7", basin), ("C8", apart)]
    assert all("points of error" in one.sentence and "pairs" in one.sentence for one in judged)


def test_one_pair_from_the_same_init_is_told_as_one_without_an_interval():
    judged = verdict(study(0.0, 0.4, 0.3, inits=1))[1]
    assert "from the same init 30.0 on train, 30.0 on test (one pair, no interval)" in judged.sentence
    assert judged.n == 3 and 30 < judged.low < 40.3 < judged.high < 50  # those of different inits
    assert "from fewer" not in judged.sentence and "fewer than 3 inits" in judged.sentence
    three = verdict(study(0.0, 0.4, 0.3))[1]
    assert "(3 pairs)" in three.sentence and (three.n, three.low, three.high) == (3, judged.low, judged.high)


def test_one_split_with_a_barrier_is_enough_against_the_claim():
    rows = pl.concat([study(0.0, 0.4, 0.3, splits=("train",)), study(0.3, 0.4, 0.3, splits=("test",))])
    assert verdict(rows)[0].status == "does not hold"


def test_pairs_of_no_arm_give_no_verdict_but_a_chart(without_batchnorm):
    result = barrier(without_batchnorm["a"], weights_of(without_batchnorm), TEST, points=3)
    assert result.verdict == ()
    assert result.chart().to_dict()["width"] == "container"


def test_targets_and_splits_are_drawn_side_by_side_and_judged_apart():
    rows = pl.concat(
        [study(h, 0.4, 0.3).with_columns(target=pl.lit(name)) for name, h in (("line", 0.0), ("mono", 0.3))]
    )
    drawn = chart(rows).to_dict()["concat"]
    assert [panel["title"] for panel in drawn] == ["line, train", "line, test", "mono, train", "mono, test"]
    judged = verdict(rows)[0]
    assert judged.status == "holds under conditions"
    assert [part.target for part in judged.parts] == ["line", "mono"]
