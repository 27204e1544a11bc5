import pytest
import torch

from bequest.weights.adapters import LowRank, adapted


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_linear_layer_by_hand() -> None:
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    change = LowRank(torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0], [0.0], [2.0]]), 0.5)
    assert adapted(weight, change).tolist() == [[1.5, 1.5], [3, 4], [6, 5]]
    assert adapted(weight.T, LowRank(change.a, change.b, 0.5, transposed=True)).tolist() == [[1.5, 3, 6], [1.5, 4, 5]]


def test_the_layer_computes_what_base_and_adapter_compute_together() -> None:
    x, weight, a, b = draw(5, 6), draw(4, 6, seed=1), draw(2, 6, seed=2), draw(4, 2, seed=3)
    merged = adapted(weight, LowRank(a, b, 0.7))
    torch.testing.assert_close(x @ merged.T, x @ weight.T + 0.7 * (x @ a.T) @ b.T)
    image, kernel, down, up = (
        draw(2, 3, 5, 5),
        draw(4, 3, 3, 3, seed=1),
        draw(2, 3, 3, 3, seed=2),
        draw(4, 2, 1, 1, seed=3),
    )
    convolve = torch.nn.functional.conv2d
    merged = adapted(kernel, LowRank(down, up, 0.7))
    beside = convolve(convolve(image, down), up)
    torch.testing.assert_close(convolve(image, merged), convolve(image, kernel) + 0.7 * beside)


def test_a_magnitude_gives_each_row_its_length() -> None:
    weight, length = draw(4, 6), torch.tensor([1.0, 2.0, 3.0, 4.0])
    change = LowRank(draw(2, 6, seed=1), draw(4, 2, seed=2), 1.0, magnitude=length)
    torch.testing.assert_close(adapted(weight, change).norm(dim=1), length)
    turned = LowRank(change.a, change.b, 1.0, transposed=True, magnitude=length)
    torch.testing.assert_close(adapted(weight.T, turned), adapted(weight, change).T)


def test_half_precision_is_rounded_once() -> None:
    weight = torch.ones(1, 1, dtype=torch.bfloat16)
    third = LowRank(torch.full((3, 1), 2**-9), torch.full((1, 3), 1.0), 1.0)  # each step alone would be rounded away
    assert adapted(weight, third).item() == 1 + 2**-7 and adapted(weight, third).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(4, 5), (6, 4), (4, 6, 1, 1), (24,)])
def test_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[4, 2\] x \[2, 6\] does not fit a tensor of"):
        adapted(torch.zeros(shape), LowRank(draw(2, 6), draw(4, 2), 1.0))
