import pytest
import torch

from bequest.weights.soundness import check_finite


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.complex64])
def test_the_first_tensor_is_named_with_its_count(bad: float, dtype: torch.dtype) -> None:
    weights = {"a": torch.ones(2), "b": torch.tensor([1.0, bad, bad]).to(dtype), "c": torch.full((2,), bad)}
    with pytest.raises(ValueError, match=r"p\.pt: b has 2 of 3 numbers that are NaN or infinite"):
        check_finite(weights, "p.pt")


def test_finite_weights_counters_and_empty_tensors_pass() -> None:
    small = torch.tensor([1.0, -2.0])
    check_finite({"a": small, "n": torch.tensor(3), "m": torch.tensor([True]), "e": torch.zeros(0)}, "x")
    check_finite({"f8": small.to(torch.float8_e4m3fn), "g8": small.to(torch.float8_e5m2)}, "x")
    with pytest.raises(ValueError, match="f8 has 1 of 1"):
        check_finite({"f8": torch.tensor([float("nan")]).to(torch.float8_e4m3fn)}, "x")
