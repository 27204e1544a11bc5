import pytest

from bequest.training.outcome import final_error, mean_train_accuracy, shared_epochs
from bequest.training.trajectory import metrics_table

METRICS = metrics_table(
    {"epoch": epoch, "split": split, "error": error}
    for split, errors in (("train", {2: 0.2, 0: 0.9, 1: 0.6}), ("validation", {1: 0.7, 2: 0.5}))
    for epoch, error in errors.items()
)


def test_known_numbers():
    assert final_error("a", METRICS, "train") == 0.2
    assert final_error("a", METRICS, "validation") == 0.5
    assert mean_train_accuracy("a", METRICS) == pytest.approx(0.6)
    assert mean_train_accuracy("a", METRICS, until=1) == pytest.approx(0.4)
    assert shared_epochs([METRICS, METRICS.filter(METRICS["epoch"] < 2)]) == 1


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match=r"'a' have no test error; they have \['train', 'validation'\]"):
        final_error("a", METRICS, "test")
    with pytest.raises(ValueError, match="no train error after epoch 0"):
        mean_train_accuracy("a", METRICS.filter(METRICS["epoch"] == 0))
