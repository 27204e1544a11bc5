"""What a training leaves: metrics, the best epoch, the epochs at which checkpoints are kept."""

from bequest.training.trajectory import METRICS, Trajectory, doubling_epochs, metrics_table


def rows(*triples):
    return [{"epoch": e, "split": "validation", "error": error, "loss": loss} for e, error, loss in triples]


def test_the_best_epoch_has_the_lowest_error_then_loss_then_is_the_earliest():
    table = metrics_table(rows((0, 0.9, 3.0), (1, 0.3, 1.0), (2, 0.2, 0.9), (3, 0.2, 0.8), (4, 0.2, 0.8)))
    assert Trajectory(table).best_epoch == 3


def test_the_way_to_an_end_goes_through_the_epochs_before_it():
    table = metrics_table(rows(*((epoch, abs(epoch - 8) / 10, 1.0) for epoch in range(17))))
    names = ("best", "epoch-1", "epoch-16", "epoch-2", "epoch-8", "epoch-4", "last", "step-0")
    run = Trajectory(table, {name: {} for name in names})
    assert run.way() == ["step-0", "epoch-1", "epoch-2", "epoch-4", "epoch-8", "last"]
    assert run.way("best") == ["step-0", "epoch-1", "epoch-2", "epoch-4", "best"]
    assert Trajectory(metrics_table([]), {"last": {}}).way() == ["step-0", "last"]


def test_a_table_has_all_columns_even_if_they_were_left_out():
    table = metrics_table(rows((0, 0.9, 3.0)))
    assert dict(table.schema) == {name: kind() for name, kind in METRICS.items()}
    assert table["learning_rate"].to_list() == [None]
    assert metrics_table([]).columns == list(METRICS)


def test_doubling_epochs():
    assert doubling_epochs(1) == ()
    assert doubling_epochs(8) == (1, 2, 4)
    assert doubling_epochs(40) == (1, 2, 4, 8, 16, 32)
