"""Streams derived from one seed: the same everywhere, different from each other."""

import torch

from bequest.training.seeds import fold, generator


def test_folding_is_fixed_for_ever():
    assert fold(0, "order") == 5231958647509549229  # a change would make every stored result another one


def test_names_and_seeds_give_different_streams():
    seeds = {fold(seed, arm, number) for seed in range(10) for arm in ("a", "b") for number in range(10)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_generator_does_not_touch_the_global_one():
    before = torch.get_rng_state()
    first, second = (torch.randn(3, generator=generator(1, "x")) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
