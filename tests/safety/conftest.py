"""One tiny study that was carried out without disturbance, for the tests that disturb it."""

import polars as pl
import pytest
from typer.testing import CliRunner

from bequest.cli import app

STUDY = """\
name: digits
model: fixup_resnet8
size: 16
source: {data: [fonts], recipe: {epochs: 1, batch_size: 64}}
targets: {hand: {data: digits, shots: 2}}
arms:
  replicas: 1
  same_init: false
  learning_rates: {finetune: [0.01], randinit: [0.02]}
  recipe: {epochs: 1, batch_size: 10, warmup: 0}
analyses: {learning_curves: , mistakes: , similarity: {batch_size: 64}}
"""


@pytest.fixture(scope="session")
def bequest():
    """Run the command line in this process; an error that it does not turn into a message fails the test."""

    def run(*words):
        ran = CliRunner().invoke(app, [str(word) for word in words])
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        return ran

    return run


@pytest.fixture(scope="session")
def sound(tmp_path_factory, bequest):
    """The folder of the study; its file is `s.yaml` beside it."""
    folder = tmp_path_factory.mktemp("sound") / "digits"
    (folder.parent / "s.yaml").write_text(STUDY)
    ran = bequest("run", folder.parent / "s.yaml", "--folder", folder)
    assert ran.exit_code == 0, ran.output
    return folder


@pytest.fixture(scope="session")
def tables():
    """Read every table of a store, by the key of its step."""
    return lambda folder: {
        path.parent.name: pl.read_parquet(path) for path in sorted((folder / "steps").glob("*/rows.parquet"))
    }
