import pytest
import torch
from torch import nn

from bequest.decisions.fine_tunes import SHOWN, as_examples, candidate, count, fine_tune, part_of, with_head
from bequest.evaluation.tasks import task
from bequest.training.examples import InOrder
from bequest.training.loop import Examples
from bequest.training.recipe import Recipe


def network(classes=3, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


def images(n=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, 5, 5), generator=generator, dtype=torch.uint8), torch.arange(n) % 3


def examples(n=10):
    return Examples(*images(n), 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def test_shown_examples_are_normalised_in_order_and_can_be_walked_again():
    shown = InOrder(examples(), 4)
    for _ in range(2):
        seen = list(shown)
        assert [len(targets) for _, targets in seen] == [4, 4, 2]
        mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
        torch.testing.assert_close(torch.cat([one for one, _ in seen]), (images()[0] / 255 - mean) / std)
    assert count(shown) == 10


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_of_images_are_shown_as_they_are(channels):
    given = [(torch.randn(n, channels, 5, 5), torch.arange(n) % 3) for n in (4, 3)]
    made = as_examples(given)
    assert made.classes == 3
    torch.testing.assert_close(
        torch.cat([one for one, _ in InOrder(made, SHOWN)]), torch.cat([one for one, _ in given])
    )
    model = nn.Sequential(nn.Flatten(), nn.Linear(channels * 25, 3))
    tune = fine_tune(
        model,
        made,
        recipe=Recipe(epochs=2, batch_size=4, learning_rate=0.1),
        replica=0,
        seed=0,
        task=task("classification"),
        watch={"validation": given},
    )
    assert tune.images == 3 * 2 * 7 + 2 * 7
    assert tune.score == (pytest.approx(tune.score[0]), pytest.approx(tune.score[1]))
    assert set(tune.trajectory.metrics["epoch"]) == {0, 2}


def test_dicts_are_kept_by_name_and_other_inputs_refused():
    given = [({"tokens": torch.arange(6).view(3, 2)}, torch.tensor([0, 1, 1]))]
    made = as_examples(given)
    assert (made.classes, list(made.images)) == (2, ["tokens"])
    assert torch.equal(
        next(iter(InOrder(part_of(made, torch.tensor([2])), SHOWN)))[0]["tokens"], torch.tensor([[4, 5]])
    )
    with pytest.raises(ValueError, match=r"torch.float32 \[2, 7\]; they need normalised images"):
        as_examples([(torch.zeros(2, 7), torch.tensor([0, 1]))])
    same = examples()
    assert as_examples(same) is same


def test_weights_become_a_network_with_the_head_that_they_have():
    template, other = network(3), network(7, seed=1)
    built, headed = candidate(other.state_dict(), template)
    assert headed and built[3].out_features == 7
    assert all(torch.equal(built.state_dict()[name], one) for name, one in other.state_dict().items())
    trunk = {name: one for name, one in other.state_dict().items() if not name.startswith("3.")}
    built, headed = candidate(trunk, template)
    assert not headed and torch.equal(built[0].weight, other[0].weight)
    assert not torch.equal(template[0].weight, other[0].weight)
    assert candidate(other, None) == (other, True)
    with pytest.raises(ValueError, match="need model="):
        candidate(other.state_dict(), None)


def test_fresh_heads_are_the_same_for_all_candidates_of_a_width():
    one, two = (with_head(network(seed=seed), 5, replica=1, seed=3) for seed in (0, 1))
    assert torch.equal(one[3].weight, two[3].weight) and one[3].out_features == 5
    assert not torch.equal(one[3].weight, with_head(network(), 5, replica=2, seed=3)[3].weight)
