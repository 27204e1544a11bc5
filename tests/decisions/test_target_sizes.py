import pytest
import torch
from torch import nn

from bequest.decisions.labels import labels
from bequest.decisions.target_sizes import learn_sizes, nested, series
from bequest.training.loop import Diverged
from bequest.training.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=0.5, warmup=0)


def network(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))


def knowing(seed):
    """A network that tells the classes already: red is more, or less, than blue."""
    model = network(seed)
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[3.0, 0, -3], [-3, 0, 3]]))
        model[2].bias.zero_()
    return model


def batches(n=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % 2
    images = torch.randn(n, 3, 4, 4, generator=generator)
    images[torch.arange(n), 2 * targets] += 1.0
    return [(images, targets)]


def test_sizes_halve_from_the_smallest_class():
    assert series(torch.tensor([0] * 40 + [1] * 50)) == (2, 5, 10, 20, 40)
    assert series(torch.tensor([0, 0, 0, 1, 1, 1])) == (1, 3)


def test_larger_sizes_hold_the_images_of_smaller_ones():
    targets = torch.arange(30) % 3
    few, many = (set(nested(targets, shots, seed=1).tolist()) for shots in (2, 7))
    assert few < many and len(many) == 21
    assert targets[nested(targets, 7, seed=1)].bincount().tolist() == [7, 7, 7]
    assert set(nested(targets, 2, seed=2).tolist()) != few
    with pytest.raises(ValueError, match="class 0 has 10"):
        nested(targets, 11, seed=0)


def learned(**more):
    starts = {"finetune": knowing, "randinit": network}
    options = {"recipe": RECIPE, "shots": (2, 8), "replicas": 2} | more
    return learn_sizes(starts, batches(), batches(seed=1), batches(seed=2), **options)


def test_every_size_takes_the_same_steps_and_the_decision_can_be_made_of_them():
    found, spent = learned()
    assert list(found) == [2, 8] and list(found[2]) == ["finetune/0", "finetune/1", "randinit/0", "randinit/1"]
    # 16 images in batches of 4 for 2 epochs are 8 steps; 4 images take 8 epochs for them
    assert {size: max(run.metrics["step"]) for size, here in found.items() for run in here.values()} == {2: 8, 8: 8}
    assert max(found[2]["randinit/0"].metrics["epoch"]) == 8
    assert spent["images"] == 4 * (3 * 8 * 4 + 3 * 2 * 16) + 8 * 3 * 16  # before, after, and on test
    assert spent["seconds"] > 0
    known = found[2]["finetune/0"].metrics.filter(split="validation", epoch=0)["error"][0]
    assert known < found[2]["randinit/0"].metrics.filter(split="validation", epoch=0)["error"][0]
    decision = labels(found, spent=spent)
    assert decision.rows.filter(metric="error", split="test").height == 4
    by_epochs, _ = learned(budget="epochs")
    assert max(by_epochs[2]["randinit/0"].metrics["epoch"]) == 2


def test_the_rate_is_chosen_on_seeds_of_its_own_and_test_is_not_looked_at_for_it():
    looks = []

    class Counted(list):
        def __iter__(self):
            looks.append(1)
            return super().__iter__()

    starts = {"finetune": knowing, "randinit": network}
    found, _ = learn_sizes(
        starts,
        batches(),
        batches(seed=1),
        Counted(batches(seed=2)),
        recipe=RECIPE,
        shots=(2, 8),
        replicas=1,
        learning_rates=(1e-6, 0.3, 1e30),  # one that does nothing, and one that diverges
    )
    runs = [run for here in found.values() for run in here.values()]
    assert all(run.metrics.filter(split="test").height == 1 for run in runs)
    assert len(looks) == 2 * len(runs)  # measured and counted, once for each run that is kept
    last = found[8]["randinit/0"].metrics.filter(split="validation").sort("epoch")["error"]
    assert last[-1] < last[0]


def test_what_cannot_be_learned_is_refused():
    with pytest.raises(Diverged, match="finetune diverged at 2 shots"):
        learned(recipe=RECIPE.model_copy(update={"learning_rate": 1e30}))
    ((images, targets),) = batches()
    several = [(images, torch.nn.functional.one_hot(targets).float())]
    with pytest.raises(ValueError, match="may have several labels"):
        learn_sizes({"finetune": knowing}, several, batches(), batches(), recipe=RECIPE)
