"""Images to measure on and images to refit on, from two sources."""

import numpy as np
import pytest

from bequest.data.calibration import with_calibration
from bequest.data.source import Record, Source


def made(name, classes, splits):
    def draw(size):
        return np.zeros((size, size, 3), np.uint8)

    records = tuple(Record(f"n{i}", f"g{i}", i % len(classes), draw, split) for i, split in enumerate(splits))
    return Source(name, classes, records, "")


def test_all_that_is_measured_is_test_and_all_that_calibrates_is_train():
    joined = with_calibration(
        made("a", ("x", "y"), ["train", "test"]), made("b", ("x", "y"), ["test", "train", "test"])
    )
    assert [record.split for record in joined.records] == ["test", "test", "train", "train", "train"]
    assert len({record.name for record in joined.records}) == 5
    assert len({record.group for record in joined.records}) == 5


def test_other_classes_are_refused():
    with pytest.raises(ValueError, match="b has 3"):
        with_calibration(made("a", ("x", "y"), ["test"]), made("b", ("x", "y", "z"), ["train"]))
