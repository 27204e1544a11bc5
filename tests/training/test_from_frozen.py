"""A training from kept outputs is the training of the whole network with its beginning frozen."""

import copy

import pytest
import torch
from torch import nn

from bequest.evaluation.batches import forward, logits
from bequest.models.opening import open_model
from bequest.models.order import modules
from bequest.training.examples import InOrder, examples_of
from bequest.training.from_frozen import OWN, Fed, keep_outputs, learning_paths


def batches(n, seed):
    stream = torch.Generator().manual_seed(seed)
    return [(torch.randn(n, 3, 16, 16, generator=stream), torch.randint(0, 4, (n,), generator=stream))]


def test_kept_outputs_give_what_the_whole_network_gives_for_any_examples():
    model = open_model("resnet8", classes=4, seed=1).eval()
    fed, sets = Fed(model), [batches(6, 0), batches(3, 1) + batches(2, 2)]
    units = modules(model, sets[0][0][0])
    frozen = [unit.name for unit in units[:2]]
    kept = keep_outputs(fed, units, frozen, sets, most=2**30)
    assert kept is not None
    assert [len(targets) for _, targets in kept] == [6, 5]
    calls = {name for name in kept[0][0] if name != "inputs"}
    assert len(calls) == 1  # of all that is over, only the last output is read
    inputs, _ = kept[1]
    with torch.no_grad():
        expected = torch.cat([model(images) for images, _ in sets[1]])
        torch.testing.assert_close(fed(**inputs), expected)
        chosen = {name: tensor[torch.tensor([3, 0])] for name, tensor in inputs.items()}
        torch.testing.assert_close(fed(**chosen), expected[[3, 0]])
        # and what learns has its say: the frozen part is not run again
        model.fc.weight.mul_(2)
        torch.testing.assert_close(fed(**chosen), torch.cat([model(images) for images, _ in sets[1]])[[3, 0]])


def test_only_what_learns_has_gradients():
    model = open_model("resnet8", classes=4, seed=1).eval()
    fed, sets = Fed(model), [batches(4, 0)]
    units = modules(model, sets[0][0][0])
    frozen = [unit.name for unit in units[:2]]
    ((inputs, _),) = keep_outputs(fed, units, frozen, sets, most=2**30)
    fed(**inputs).sum().backward()
    own = dict(model.named_parameters())
    for unit in units:
        has = {own[name].grad is not None for name in unit.parameters}
        assert has == {unit.name not in frozen}


@pytest.mark.parametrize("frozen", [[], ["layer2.0", "fc"]])
def test_without_a_frozen_beginning_nothing_is_kept(frozen):
    model = open_model("resnet8", classes=4, seed=1)
    units = modules(model, torch.zeros(1, 3, 16, 16))
    assert keep_outputs(Fed(model), units, frozen, [batches(2, 0)], most=2**30) is None


def test_what_does_not_fit_is_not_kept():
    model = open_model("resnet8", classes=4, seed=1)
    units = modules(model, torch.zeros(1, 3, 16, 16))
    fed = Fed(model)
    assert keep_outputs(fed, units, [units[0].name], [batches(4, 0)], most=1000) is None
    assert fed.start is None


class Named(nn.Module):
    """Takes two inputs by keyword; the mask is read at the end."""

    def __init__(self):
        super().__init__()
        self.embed, self.block, self.fc = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, ids, mask):
        hidden = torch.relu(self.block(self.embed(ids)))
        return self.fc((hidden * mask[..., None]).sum(1))


def test_inputs_by_keyword_are_kept_beside_the_outputs():
    model = Named().eval()
    stream = torch.Generator().manual_seed(0)
    given = [
        ({"ids": torch.randint(0, 9, (5, 6), generator=stream), "mask": torch.ones(5, 6)}, torch.zeros(5).long()),
    ]
    units = modules(model, given[0][0])
    fed = Fed(model)
    ((inputs, _),) = keep_outputs(fed, units, ["embed"], [given], most=2**20)
    assert {"ids", "mask"} < inputs.keys()
    torch.testing.assert_close(logits(forward(fed, inputs)), model(**given[0][0]))


def test_paths_of_what_learns_are_the_largest_that_learn_whole():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.Linear(2, 2))
    every = {name for name, _ in model.named_parameters()}
    assert learning_paths(model, every) == ("",)
    assert learning_paths(model, every - {"0.weight", "0.bias"}) == ("1", "2")
    assert learning_paths(model, every - {"0.weight", "0.bias", "1.0.bias", "1.0.weight"}) == ("1.1", "2")
    assert learning_paths(model, {"2.weight"}) == ()


def test_examples_come_back_in_order():
    given = batches(3, 0) + batches(2, 1)
    examples = examples_of(given)
    found = list(InOrder(examples, 2))
    assert [len(targets) for _, targets in found] == [2, 2, 1]
    whole = torch.cat([inputs["inputs"] for inputs, _ in found])
    assert torch.equal(whole, torch.cat([images for images, _ in given]))
    ((inputs, targets),) = InOrder(examples, 9, [4, 0])
    assert torch.equal(inputs["inputs"], whole[[4, 0]])
    assert torch.equal(targets, examples.targets[[4, 0]])
    fed = Fed(open_model("resnet8", classes=4, seed=1)).eval()
    assert torch.equal(fed(**inputs), fed(inputs["inputs"]))
    assert all(name.startswith(OWN) for name in copy.deepcopy(fed).state_dict())
