import pytest
import torch
from scipy.optimize import linear_sum_assignment

from bequest.weights.prices import eased, paid


def best(scores):
    return torch.from_numpy(linear_sum_assignment(scores.double().numpy(), maximize=True)[1])


def total(scores, order):
    return float(scores.double()[torch.arange(len(order)), order].sum())


@pytest.fixture
def scores():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 40, generator=generator) + 3 * torch.rand(40, 1, generator=generator)


@pytest.mark.parametrize("prices", ["none", "nonsense"])
def test_an_eased_problem_has_the_same_answer(scores, prices):
    given = (
        None
        if prices == "none"
        else torch.linspace(
            -5,
            5,
            40,
        )
    )
    easy, _ = eased(scores, given)
    assert easy.max() == 0 and (easy.amax(0) == 0).all()
    assert torch.equal(best(easy), best(scores))


def test_paid_prices_leave_nothing_to_search(scores):
    easy, prices = eased(scores, None)
    order = best(easy)
    prices = paid(easy, prices, order)
    moved = scores[:, order]  # the columns in their new order: the best assignment is the diagonal
    wanted = moved.double() - prices
    assert (wanted.amax(1) - wanted.diagonal()).max() <= 1e-5
    again, _ = eased(moved, prices)
    assert again.diagonal().min() >= -1e-5


def test_prices_of_a_similar_problem_help_and_do_not_change_the_answer(scores):
    easy, prices = eased(scores, None)
    order = best(easy)
    prices = paid(easy, prices, order)
    near = scores[:, order] + 0.05 * torch.randn(40, 40, generator=torch.Generator().manual_seed(1))
    with_prices, without = eased(near, prices)[0], eased(near, None)[0]
    assert total(near, best(with_prices)) == pytest.approx(total(near, best(near)), abs=1e-9)
    # what the diagonal lacks is all that is left to search
    assert with_prices.diagonal().sum() > without.diagonal().sum() / 4
