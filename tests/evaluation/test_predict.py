from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bequest.evaluation.predict import measure, predict


class Keyed(nn.Module):
    """Takes its inputs by keyword and wraps its outputs, as transformers do."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, pixels, mask):
        return SimpleNamespace(logits=self.linear(pixels * mask))


def small_model(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def small_batches(sizes=(5, 5, 2), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(n, 4, generator=generator), torch.randint(0, 3, (n,), generator=generator)) for n in sizes]


def test_predictions_are_the_outputs_in_evaluation_mode_in_order():
    model, batches = small_model(), small_batches()
    predicted = predict(model, batches)
    with torch.no_grad():
        expected = model.eval()(torch.cat([inputs for inputs, _ in batches]))
    torch.testing.assert_close(predicted.outputs, expected)
    assert torch.equal(predicted.targets, torch.cat([targets for _, targets in batches]))
    assert predicted.outputs.dtype == torch.float32 and not predicted.outputs.is_inference()


def test_measure_is_the_mean_over_examples_of_predict():
    model, batches = small_model(), small_batches((7, 1, 3))
    predicted = predict(model, batches)
    loss, error = measure(model, batches)
    assert loss == pytest.approx(float(nn.functional.cross_entropy(predicted.outputs, predicted.targets)), abs=1e-6)
    assert error == pytest.approx(float((predicted.outputs.argmax(1) != predicted.targets).double().mean()))


def test_weights_are_used_and_the_model_comes_back_as_it_was():
    model, other, batches = small_model(0).train(), small_model(1), small_batches()
    model[3].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    predicted = predict(model, batches, weights=other.state_dict())
    assert torch.equal(predicted.outputs, predict(other, batches).outputs)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training and model[0].training and not model[3].training


def test_dict_inputs_and_wrapped_outputs():
    model = Keyed()
    inputs = {"pixels": torch.randn(6, 4, generator=torch.Generator().manual_seed(2)), "mask": torch.ones(6, 1)}
    batches = [(inputs, torch.arange(6) % 3)]
    torch.testing.assert_close(predict(model, batches).outputs, model.linear(inputs["pixels"]).detach())
    assert 0 <= measure(model, batches)[1] <= 1


def test_half_precision_outputs_are_given_in_float32():
    model = small_model().to(torch.bfloat16)
    batches = [(inputs.bfloat16(), targets) for inputs, targets in small_batches()]
    assert predict(model, batches).outputs.dtype == torch.float32


def test_the_global_generator_is_not_touched():
    state = torch.get_rng_state()
    predict(small_model(), small_batches())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "no examples"),
        ((pair for pair in small_batches()), "generator"),
        ([torch.zeros(3, 4)], "pair"),
    ],
)
def test_batches_that_give_no_numbers_are_refused(batches, message):
    with pytest.raises(ValueError, match=message):
        predict(small_model(), batches)


def test_outputs_without_a_tensor_are_refused():
    class Pair(nn.Module):
        def forward(self, inputs):
            return inputs, inputs

    with pytest.raises(ValueError, match=r"\.logits"):
        predict(Pair(), small_batches())
