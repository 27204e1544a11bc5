import polars as pl
import pytest
import torch
from torch import nn

from bequest.analyses.result import COLUMNS
from bequest.decisions.source import source
from bequest.evaluation.features import features
from bequest.evaluation.predict import measure
from bequest.evaluation.transferability import transferability
from bequest.training.recipe import Recipe

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=0.2, warmup=0)


def network(seed=0, classes=4):
    """Its features are two numbers a colour: how bright the image is, above a level."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4), nn.Tanh())
        return nn.Sequential(*body, nn.Linear(4, classes))


def knowing(sharpness):
    """A source that sees the classes the better the sharper it is."""
    model = network()
    with torch.no_grad():
        model[2].weight.copy_(sharpness * torch.tensor([[1.0, 0, -1], [-1, 0, 1], [1, -1, 0], [0, 1, -1]]))
        model[2].bias.zero_()
    return model


def batches(n=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % 3
    images = torch.randn(n, 3, 4, 4, generator=generator)
    images[torch.arange(n), targets] += 0.8
    return [(images[:16], targets[:16]), (images[16:], targets[16:])]


class Counted(list):
    """Batches that count how often they are walked."""

    looks = 0

    def __iter__(self):
        self.looks += 1
        return super().__iter__()


def decided(candidates=None, **more):
    given = candidates or {"dull": knowing(1e-4), "sharp": knowing(1.0)}
    options = {"recipe": RECIPE} | more
    return source(given, batches(), batches(48, 1), Counted(batches(30, 2)), **options)


def value(decision, metric, a, **where):
    return decision.rows.filter(pl.col("metric") == metric, pl.col("a") == a, **where)["value"].item()


def test_the_source_that_sees_the_classes_is_taken_and_its_weights_have_the_error_claimed():
    test = Counted(batches(30, 2))
    given = {"dull": knowing(1e-4), "sharp": knowing(1.0)}
    before = {name: one.clone() for name, one in given["sharp"].state_dict().items()}
    found = source(given, batches(), batches(48, 1), test, recipe=RECIPE)
    assert found.advice.startswith("Start from sharp: fine-tuned it has an error of")
    assert test.looks == 3  # counted twice, measured once
    assert all(torch.equal(before[name], one) for name, one in given["sharp"].state_dict().items())
    fresh = network(9, classes=3)
    _, error = measure(fresh, batches(30, 2), weights=found.weights)
    assert value(found, "error", "sharp", split="test") == pytest.approx(error)
    _, error = measure(fresh, batches(48, 1), weights=found.weights)
    assert value(found, "error", "sharp", split="validation") == pytest.approx(error)
    assert value(found, "error", "dull", split="validation") > error + 0.1
    assert found.sure == "measured" and "clearly better than the next, dull" in found.advice
    assert list(found.rows.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert found.rows["analysis"].unique().to_list() == ["source"]


def test_scores_are_those_of_the_training_examples_and_costs_are_counted():
    found = decided(replicas=2)
    expected = transferability(features(knowing(1.0), batches()))
    for name, one in expected.items():
        assert value(found, name, "sharp") == pytest.approx(one), name
    training = 2 * (3 * 3 * 24 + 2 * 48)  # replicas; three epochs, and validation before and after
    assert value(found, "images", "sharp", split="training") == training
    assert value(found, "images", "sharp", split="score") == 24
    assert found.costs["images"] == 2 * (training + 24) + 2 * 30
    assert found.costs["score_images"] == 48 and found.costs["seconds"] > 0


def test_two_candidates_say_nothing_of_the_scores():
    found = decided()
    assert "too few to tell whether a score orders them right (5 are needed)" in found.advice
    taus = found.rows.filter(metric="kendall")
    assert set(taus["a"]) >= {"leep", "nce", "nleep", "logme", "h_score", "h_score_shrunk", "probe", "knn"}
    assert taus["low"].null_count() == taus.height


def test_of_many_candidates_the_first_are_trained_and_the_order_is_judged():
    given = {f"s{i}": knowing(sharpness) for i, sharpness in enumerate((1e-4, 0.01, 0.05, 0.2, 1.0, 2.0))}
    found = decided(given, scores=["logme", "probe"], by="probe")
    assert found.rows.filter(metric="kendall", a="probe")["n"].item() == 6
    assert "probe " in found.advice and "Kendall's tau" in found.advice
    assert value(found, "kendall", "probe") > 0.3
    some = decided(given, scores=["logme", "probe"], by="probe", top=2)
    assert "2 candidates of 6 were trained" in some.advice
    assert set(some.rows.filter(metric="error")["a"]) <= set(
        some.rows.filter(pl.col("metric") == "rank", pl.col("value") <= 2)["a"]
    )


def test_equal_candidates_are_not_told_apart():
    found = decided({"one": knowing(1.0), "two": knowing(1.0)})
    assert found.sure == "inconclusive" and "not to be told apart from" in found.advice
    assert value(found, "error_difference", found.rows.filter(metric="error_difference")["a"].item()) == 0
    alone = decided({"one": knowing(1.0)})
    assert alone.sure == "inconclusive" and "1 candidate of 1 was trained" in alone.advice


def test_what_learned_nothing_is_not_compared():
    blind = {"one": knowing(0.0), "two": knowing(1e-9)}
    found = decided(blind, recipe=Recipe(epochs=1, batch_size=24, learning_rate=1e-6))
    assert found.sure == "inconclusive" and found.advice.startswith("No candidate learned the target")


def test_each_candidate_gets_the_same_rates_and_the_best_of_them():
    found = decided(learning_rates=(1e-7, 0.2, 1e30))
    assert value(found, "learning_rate", "sharp") == 0.2
    with_one = decided(learning_rates=(0.2,))
    assert value(found, "error", "sharp", split="validation") == value(with_one, "error", "sharp", split="validation")
    refused = decided(learning_rates=(1e30,))
    assert refused.sure == "refused" and "diverged; lower the learning rate" in refused.advice
    assert refused.rows.filter(metric="failed")["a"].to_list() == ["sharp", "dull"] and refused.weights is None


def test_weights_with_a_head_and_without_one():
    trunk = {name: one for name, one in knowing(1.0).state_dict().items() if not name.startswith("4.")}
    found = decided({"whole": knowing(0.5).state_dict(), "trunk": trunk}, model=network())
    assert found.rows.filter(metric="leep")["a"].to_list() == ["whole"]
    assert set(found.rows.filter(metric="logme")["a"]) == {"whole", "trunk"}


def test_a_reference_gives_cka():
    found = decided(reference=knowing(1.0), scores=["logme", "cka"])
    assert value(found, "cka", "sharp") == pytest.approx(1)
    assert value(found, "cka", "dull") < 1


def test_several_labels():
    def several(given):
        made = [(images, torch.nn.functional.one_hot(targets, 3).float()) for images, targets in given]
        made[0][1][0, 2] = torch.nan  # a label that is missing
        return made

    found = source(
        {"dull": knowing(1e-4), "sharp": knowing(1.0)},
        several(batches()),
        several(batches(48, 1)),
        several(batches(30, 2)),
        recipe=RECIPE,
        task="multilabel",
        replicas=2,
    )
    assert found.advice.startswith("Start from sharp")
    whole = [
        (images[1:] if number == 0 else images, targets[1:] if number == 0 else targets)
        for number, (images, targets) in enumerate(several(batches()))
    ]
    expected = transferability(features(knowing(1.0), whole))
    assert value(found, "logme", "sharp") == pytest.approx(expected["logme"])
    assert set(found.rows.filter(pl.col("split") == "train")["metric"]) == {"logme", "probe", "knn"}


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least one candidate"):
        source({}, batches(), batches(), batches(), recipe=RECIPE)
    with pytest.raises(ValueError, match="sorted by 'luck', and the scores are leep, nce"):
        decided(by="luck")
    with pytest.raises(ValueError, match="sorted by 'logme', and the scores are knn"):
        decided(scores=["knn"])
    with pytest.raises(ValueError, match="top has to be at least 1, not 0"):
        decided(top=0)
