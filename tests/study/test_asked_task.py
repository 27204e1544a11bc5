import pytest

from bequest.data.source import Record, Source
from bequest.study.asked_task import task_for


def source(target):
    return Source("some", ("a", "b"), (Record("one", "one", target, None, "train"),), "nobody")


def test_the_data_tell_the_task():
    assert task_for(source(1)) == "classification"
    assert task_for(source((1.0, None))) == task_for(source((1.0, None)), "multilabel") == "multilabel"


def test_another_task_than_that_of_the_data_is_refused():
    with pytest.raises(ValueError, match=r"targets.x.task is multilabel, but some has one class an example"):
        task_for(source(0), "multilabel", "targets.x.task")


def test_texts_without_classes_are_to_be_said():
    plain = Source("text:some", (), (Record("one", "one", 0, None, "train", "a text"),), "nobody")
    assert task_for(plain) == task_for(plain, "language-modelling") == "language-modelling"
    with pytest.raises(ValueError, match="task is classification, but text:some has texts without classes"):
        task_for(plain, "classification", "targets.x.task")
    classed = Source("text:some", ("a", "b"), (Record("one", "one", 0, None, "train", "a text"),), "nobody")
    assert task_for(classed) == "classification"
    with pytest.raises(ValueError, match=r"write text:FILE\?label=none"):
        task_for(classed, "language-modelling", "targets.x.task")
