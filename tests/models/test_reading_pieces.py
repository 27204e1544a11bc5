"""A tensor read piece by piece is the tensor, at every length; a file that was cut short is told."""

import pytest
import torch
from safetensors.torch import save_file

from bequest.models.files import open_weights


@pytest.mark.parametrize("count", [0, 1, 7, 5_000_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_pieces_are_the_tensor(count, dtype, tmp_path):
    values = torch.arange(count).to(dtype)
    save_file({"before": torch.zeros(3), "w": values}, tmp_path / "w.safetensors")
    found = [piece.clone() for piece in open_weights(tmp_path / "w.safetensors").pieces("w", 65_536)]
    assert all(len(piece) == 65_536 for piece in found[:-1])
    assert torch.equal(torch.cat([values[:0], *found]), values)


def test_a_tensor_that_is_not_contiguous_comes_in_the_order_of_its_entries(tmp_path):
    values = torch.arange(12.0).reshape(3, 4)
    torch.save({"w": values.T}, tmp_path / "w.pt")
    found = [piece.clone() for piece in open_weights(tmp_path / "w.pt").pieces("w", 5)]
    assert torch.equal(torch.cat(found), values.T.reshape(-1))


def test_a_file_cut_short_meanwhile(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"w": torch.ones(1000)}, path)
    weights = open_weights(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="become shorter"):
        list(weights.pieces("w", 10))
