"""What an interrupted training left is taken as it was written, or not at all."""

import pytest
import torch

from bequest.models.files import read_weights
from bequest.study.functions.kept import Kept


@pytest.fixture
def begun(tmp_path):
    kept = Kept(tmp_path)
    kept.keep("step-0", {"w": torch.zeros(3)})
    kept.keep("epoch-1", {"w": torch.ones(3)})
    kept.state.write_text("epoch 1")
    return tmp_path


def test_a_sound_try_goes_on_and_leaves_nothing_but_checkpoints(begun):
    kept = Kept(begun)
    assert kept.state.is_file()
    kept.keep("last", {"w": torch.ones(3)})
    kept.done()
    assert [path.name for path in begun.iterdir()] == ["checkpoints"]
    assert read_weights(begun / "checkpoints" / "step-0.safetensors")["w"].tolist() == [0, 0, 0]


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: flipped(folder / "checkpoints" / "epoch-1.safetensors"),
        lambda folder: (folder / "checkpoints" / "step-0.safetensors").unlink(),
        lambda folder: (folder / "kept.json").unlink(),
        lambda folder: (folder / "kept.json").write_text("[]"),
        lambda folder: (folder / "kept.json").write_bytes(b"\xff{"),
    ],
    ids=["flipped", "missing", "no hashes", "a list", "no text"],
)
def test_a_try_that_is_not_as_it_was_written_starts_afresh(begun, spoil):
    spoil(begun)
    assert not Kept(begun).state.exists()


def test_a_checkpoint_that_was_written_when_the_process_died_is_written_again(begun):
    (begun / "checkpoints" / "epoch-2.safetensors").write_text("its hash was not written any more")
    kept = Kept(begun)
    assert kept.state.is_file()  # of epoch 1: the second one comes again
    kept.keep("epoch-2", {"w": torch.full((3,), 2.0)})
    assert Kept(begun).state.is_file()
