"""How much of BatchNorm's start is left after a training: known answers, and what a network really keeps."""

import logging

import pytest
import torch
from torch import nn

from bequest.training.stale_batchnorm import _said, start_left, tell_if_stale


def network(momentum):
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=momentum), nn.ReLU())


@pytest.mark.parametrize("momentum", [0.01, 0.1, 0.5])
def test_the_share_is_what_a_running_variance_keeps(momentum):
    model = network(momentum)
    share, name = start_left(model, 20)
    for _ in range(20):
        model[1](torch.ones(8, 4))  # a batch without variance: what is left of 1 is the start
    assert name == "1"
    assert model[1].running_var.tolist() == pytest.approx([share] * 4, rel=1e-5)


def test_what_has_seen_something_starts_from_that():
    model = network(0.01)
    model(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)))
    assert start_left(model, 1) == (0.0, "")


def test_what_keeps_no_start_or_no_statistics_leaves_nothing():
    assert start_left(network(None), 1) == (0.0, "")
    assert start_left(nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)), 1) == (0.0, "")
    assert start_left(nn.Linear(3, 4), 1) == (0.0, "")


def test_the_slowest_module_counts():
    assert start_left(nn.Sequential(network(0.1), network(0.01)), 60) == (pytest.approx(0.99**60), "1.1")


def test_statistics_of_modules_that_do_not_learn_do_not_count():
    model = nn.Sequential(network(0.01), nn.Linear(4, 2))
    assert start_left(model, 5, ["1"]) == (0.0, "")
    assert start_left(model, 5, ["0"])[1] == "0.1"


def test_it_is_said_once_and_only_of_short_trainings(caplog):
    _said.clear()
    with caplog.at_level(logging.WARNING, "bequest"):
        tell_if_stale(network(0.01), 1000)
        assert not caplog.messages
        for _ in range(2):
            tell_if_stale(network(0.01), 60)
    [message] = caplog.messages
    assert "after 60 steps" in message
    assert "still 55% their start (momentum 0.01 in 1)" in message
