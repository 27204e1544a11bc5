"""A tensor read piece by piece is the tensor, at every length; a file that was cut short is told."""

import errno
import os

import pytest
import torch
from safetensors.torch import save_file

from bequest.models import reading_pieces as room
from bequest.models.files import open_weights


def forget(path):
    """Put a file out of the page cache, as one that is larger than the memory is."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.parametrize("count", [0, 1, 7, 5_000_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_pieces_are_the_tensor(count, dtype, tmp_path):
    values = torch.arange(count).to(dtype)
    save_file({"before": torch.zeros(3), "w": values}, tmp_path / "w.safetensors")
    found = [piece.clone() for piece in open_weights(tmp_path / "w.safetensors").pieces("w", 65_536)]
    assert all(len(piece) == 65_536 for piece in found[:-1])
    assert torch.equal(torch.cat([values[:0], *found]), values)


@pytest.mark.parametrize("before", [0, 1, 1023, 1024, 5000])
@pytest.mark.parametrize("count", [262_144, 1_048_576, 1_500_001])
def test_what_is_not_in_the_page_cache_is_fetched_past_it(before, count, tmp_path):
    path, values = tmp_path / "w.safetensors", torch.randn(count, generator=torch.Generator().manual_seed(count))
    save_file({"a": torch.zeros(before), "w": values, "z": torch.ones(3)}, path)
    weights = open_weights(path)
    forget(path)
    place = weights._places["w"]
    file, past = room._open(place, place.nbytes)
    assert _direct(file) == past
    file.close()
    assert torch.equal(torch.cat([piece.clone() for piece in weights.pieces("w", 65_536)]), values)
    if past:  # the disk of this machine lets us: it is still not there
        with room.FileIO(path) as file:
            assert not room._cached(file, place, place.nbytes)


def test_what_was_just_written_is_taken_from_the_page_cache(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"w": torch.ones(1_000_000)}, path)
    place = open_weights(path)._places["w"]
    with room.FileIO(path) as file:
        assert room._cached(file, place, place.nbytes)
    file, past = room._open(place, place.nbytes)
    assert not past and not _direct(file)
    file.close()


def _direct(file):
    import fcntl

    return bool(fcntl.fcntl(file.fileno(), fcntl.F_GETFL) & os.O_DIRECT)


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


@pytest.mark.parametrize("left", [0, 4096, 1_000_000, 2_000_000, 3_999_999])
def test_a_file_cut_short_meanwhile_that_is_fetched_past_the_page_cache(left, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"w": torch.ones(1_000_000)}, path)
    weights = open_weights(path)
    with path.open("rb+") as file:
        file.truncate(left)
    forget(path)
    with pytest.raises(ValueError, match="safetensors has become shorter"):
        list(weights.pieces("w", 65_536))


class Network(room.FileIO):
    """A file of a system that gives what it has at hand, and of which nothing can be read past the page cache."""

    def readinto(self, buffer):
        if _direct(self):
            raise OSError(errno.EINVAL, "Invalid argument")
        return super().readinto(memoryview(buffer)[:70_001])


def test_short_reads_and_a_disk_that_refuses_the_way_past_the_page_cache(tmp_path, monkeypatch):
    path, values = tmp_path / "w.safetensors", torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    save_file({"w": values}, path)
    weights = open_weights(path)
    forget(path)
    monkeypatch.setattr(room, "FileIO", Network)
    assert torch.equal(torch.cat([piece.clone() for piece in weights.pieces("w", 65_536)]), values)
