import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from bequest.evaluation.batchnorm import has_batchnorm, refit_batchnorm


def network(seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.BatchNorm2d(4, **options),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Conv2d(4, 3, 3),
            nn.BatchNorm2d(3, **options),
        )


def images(sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [(3 + torch.randn(n, 2, 8, 8, generator=generator) * (1 + i), torch.zeros(n)) for i, n in enumerate(sizes)]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"affine": False}, {"momentum": 0.01}])
def test_batches_of_one_size_give_what_update_bn_gives(options):
    model, batches = network(**options), images((6, 6, 6))
    refitted = refit_batchnorm(model, model.state_dict(), batches)
    twin = copy.deepcopy(model)
    twin[3].p = 0.0  # update_bn leaves dropout on; ours is in evaluation mode
    update_bn([inputs for inputs, _ in batches], twin)
    for name, wanted in twin.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(refitted[name], wanted, rtol=1e-5, atol=1e-6)


def test_an_uneven_last_batch_counts_by_its_size():
    model, batches = network(), images((6, 6, 2))
    refitted = refit_batchnorm(model, model.state_dict(), batches)
    with torch.no_grad():
        outputs = model[0](torch.cat([inputs for inputs, _ in batches])).double()
    torch.testing.assert_close(refitted["1.running_mean"].double(), outputs.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    parts = outputs.split([6, 6, 2])
    variance = sum(len(part) * part.transpose(0, 1).flatten(1).var(1) for part in parts) / 14
    torch.testing.assert_close(refitted["1.running_var"].double(), variance, rtol=1e-5, atol=1e-6)


def test_old_statistics_even_broken_ones_leave_no_trace():
    model, batches = network(), images((6, 4))
    clean = refit_batchnorm(model, model.state_dict(), batches)
    broken = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    broken["1.running_mean"].fill_(float("nan"))
    broken["1.running_var"].fill_(float("inf"))
    assert same(refit_batchnorm(model, broken, batches), clean)


def test_the_model_its_counters_and_the_global_generator_stay_as_they_were():
    model, batches = network(momentum=0.3).train(), images((6, 4))
    model(batches[0][0])
    model[5].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    refitted = refit_batchnorm(model, model.state_dict(), batches)
    assert same(before, model.state_dict())
    assert [module.training for module in model] == [True] * 5 + [False]
    assert model[1].momentum == model[5].momentum == 0.3
    assert not model[1]._forward_pre_hooks
    assert int(refitted["1.num_batches_tracked"]) == 1
    assert torch.equal(state, torch.get_rng_state())
    assert not any(tensor.is_inference() for tensor in refitted.values())


def test_a_layer_called_twice_counts_both_calls():
    layer = nn.BatchNorm1d(3)
    model = nn.Sequential(layer, nn.Linear(3, 3), layer)
    batches = [(torch.randn(9, 3, generator=torch.Generator().manual_seed(k)), torch.zeros(9)) for k in range(2)]
    refitted = refit_batchnorm(model, model.state_dict(), batches)
    total = torch.zeros(3)
    with torch.no_grad():
        for inputs, _ in batches:
            middle = model[1](nn.functional.batch_norm(inputs, None, None, layer.weight, layer.bias, training=True))
            total += inputs.mean(0) + middle.mean(0)
    torch.testing.assert_close(refitted["0.running_mean"], total / 4)


def test_layers_without_running_statistics_need_no_refit():
    model = network(track_running_stats=False)
    assert not has_batchnorm(model)
    assert same(refit_batchnorm(model, model.state_dict(), images((4,))), model.state_dict())
    assert has_batchnorm(network()) and not has_batchnorm(nn.Linear(2, 2))


def test_single_examples_have_no_variance():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    pair, single = (rows[:4], torch.zeros(4)), (rows[4:], torch.zeros(1))
    weights = model.state_dict()
    assert same(refit_batchnorm(model, weights, [pair, single]), refit_batchnorm(model, weights, [pair]))
    with pytest.raises(ValueError, match="two examples"):
        refit_batchnorm(model, weights, [single])
    assert not model[1]._forward_pre_hooks
