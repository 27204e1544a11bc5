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
