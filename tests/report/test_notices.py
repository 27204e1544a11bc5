"""Warnings wait until the input is known to be sound."""

import logging

import pytest

from bequest.report.notices import held, tell

LOGGER = logging.getLogger("bequest")


def test_an_error_comes_without_them(capsys):
    with pytest.raises(ValueError, match="no such model"), held():
        LOGGER.warning("torchvision is odd")
        raise ValueError("no such model")
    assert capsys.readouterr().err == ""
    assert not LOGGER.handlers


def test_they_are_told_in_order_and_once(capsys):
    with held():
        LOGGER.warning("one %s", "thing")
        assert capsys.readouterr().err == ""
        tell()
        assert capsys.readouterr().err == "one thing\n"
        LOGGER.warning("another")
        assert capsys.readouterr().err == "another\n"
    assert capsys.readouterr().err == ""


def test_what_was_held_comes_at_the_end_of_a_command_that_ends_well(capsys):
    with held():
        LOGGER.warning("late")
    assert capsys.readouterr().err == "late\n"
