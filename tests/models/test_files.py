import json
import os
import resource
import struct
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from bequest.models.files import read_weights, write_weights


def draw() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "w": torch.randn(3, 4, generator=generator),
        "half": torch.randn(5, generator=generator).bfloat16(),
        "n": torch.tensor(3),
        "mask": torch.tensor([True, False]),
        "empty": torch.zeros(0, 2),
    }


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(draw(), path)
    assert same(read_weights(path), draw())
    assert same(read_weights(str(path)), draw())
    assert same(read_weights(tmp_path), draw())
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_views_layouts_and_shared_memory(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(1, 2, 3, 4)
    weights = {
        "whole": whole,
        "again": whole,
        "transposed": whole.transpose(2, 3),
        "row": whole[0, 1, 2],
        "last": whole.contiguous(memory_format=torch.channels_last),
        "trained": torch.nn.Parameter(torch.ones(2)),
    }
    write_weights(weights, tmp_path / "a.safetensors")
    assert same(read_weights(tmp_path / "a.safetensors"), {k: t.detach() for k, t in weights.items()})


def test_writing_is_deterministic_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(draw(), path)
    first = path.read_bytes()
    write_weights({"other": torch.ones(1)}, path)
    assert list(read_weights(path)) == ["other"]
    write_weights(dict(reversed(draw().items())), path)
    assert path.read_bytes() == first


def test_a_file_that_is_replaced_does_not_change_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(draw(), path)
    weights = read_weights(path)
    write_weights({name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in draw().items()}, path)
    assert same(weights, draw())


def test_sparse_tensors_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(draw(), path)
    with pytest.raises(ValueError, match="w is sparse"):
        write_weights({"w": torch.eye(2).to_sparse()}, path)
    assert same(read_weights(path), draw())
    assert len(list(tmp_path.iterdir())) == 1


def test_a_write_that_fails_halfway_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(draw(), path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # acts like a disk that is full after 2000 bytes
    try:
        with pytest.raises(OSError, match=r"cannot write .*a\.safetensors"):
            write_weights({"w": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert same(read_weights(path), draw())
    assert len(list(tmp_path.iterdir())) == 1


def test_write_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.pt: weights are written as \.safetensors"):
        write_weights(draw(), tmp_path / "a.pt")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_weights(draw(), tmp_path / "none" / "a.safetensors")


@pytest.mark.parametrize("ending", ["pt", "pth", "bin", "ckpt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_state_dicts(tmp_path: Path, ending: str, zipped: bool) -> None:
    path = tmp_path / f"a.{ending}"
    torch.save(OrderedDict(draw()), path, _use_new_zipfile_serialization=zipped)
    assert same(read_weights(path), draw())


@pytest.mark.parametrize("nest", ["state_dict", "model", "ema"])
def test_nested_and_prefixed_state_dicts(tmp_path: Path, nest: str) -> None:
    weights = {f"module.{name}": tensor for name, tensor in draw().items()}
    torch.save({"epoch": 3, nest: weights, "optimizer": {"state": {}}}, tmp_path / "a.pt")
    assert same(read_weights(tmp_path / "a.pt"), draw())


def test_parameters_come_as_plain_tensors(tmp_path: Path) -> None:
    torch.save({"w": torch.nn.Parameter(torch.ones(2))}, tmp_path / "a.pt")
    tensor = read_weights(tmp_path / "a.pt")["w"]
    assert type(tensor) is Tensor and not tensor.requires_grad


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_named_and_never_run(tmp_path: Path, zipped: bool) -> None:
    target = tmp_path / "it-ran"
    torch.save({"w": torch.ones(1), "x": Malicious(target)}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ValueError, match=r"a\.pt wants to run posix\.mkdir when it is opened\. It was not run"
    ) as caught:
        read_weights(tmp_path / "a.pt")
    assert "weights_only=False" not in str(caught.value)
    assert not target.exists()
    torch.load(tmp_path / "a.pt", weights_only=False)  # the bait is real
    assert target.exists()


def test_a_whole_pickled_model_is_refused_with_its_class(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(1, 1), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"wants to run torch\.nn\.modules\.linear\.Linear"):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("cut", [0, 4, 30, -3])
@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "old.pt"])
def test_cut_short(tmp_path: Path, name: str, cut: int) -> None:
    path = tmp_path / name
    if path.suffix == ".pt":
        torch.save(draw(), path, _use_new_zipfile_serialization=name != "old.pt")
    else:
        write_weights(draw(), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        read_weights(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "weights",
    [
        {"w": torch.ones(1).expand(10**7, 10**6)},
        {"w": torch.ones(3000).as_strided((2000, 1000), (1, 1))},
        {"v": torch.ones(5000), "w": torch.ones(1).expand(2)},
    ],
)
def test_tensors_that_claim_more_than_their_memory_are_refused(
    tmp_path: Path, weights: dict[str, Tensor], zipped: bool
) -> None:
    torch.save(weights, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"a\.pt holds [\d,]+ bytes, but its tensors claim more \(w alone [\d,]+\)"):
        read_weights(tmp_path / "a.pt")


def test_many_views_of_one_memory_that_together_claim_more_than_the_file_are_refused(tmp_path: Path) -> None:
    flat = torch.arange(100_000.0)
    torch.save({f"w{i}": flat[i:] for i in range(50)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"its tensors claim more \(w\d+ alone 399,"):
        read_weights(tmp_path / "a.pt")


def test_tied_weights_and_slices_of_one_memory_are_read(tmp_path: Path) -> None:
    flat = torch.arange(100_000.0)
    weights = {"embedding": flat, "output": flat, "bias": torch.ones(1000)[:10]}
    torch.save(weights, tmp_path / "a.pt")
    assert same(read_weights(tmp_path / "a.pt"), weights)
    halves = {"first": flat[:50_000].view(500, 100), "second": flat[50_000:].view(500, 100).T}
    torch.save(halves, tmp_path / "a.pt")
    assert same(read_weights(tmp_path / "a.pt"), halves)


@pytest.mark.parametrize("kind", ["sparse", "meta"])
def test_tensors_without_their_numbers_are_refused(tmp_path: Path, kind: str) -> None:
    shape = (10**7, 10**6)
    sparse = torch.sparse_coo_tensor(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0), shape, check_invariants=True)
    torch.save({"w": sparse if kind == "sparse" else torch.empty(shape, device="meta")}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt: w is sparse, nested or without numbers"):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "header",
    [
        {"w": ([10**7, 10**6], [0, 8])},
        {"w": ([10**7, 10**6], [0, 4 * 10**13])},
        {"w": ([2**40, 2**40], [0, 8])},
        {"w": ([2], [0, 8]), "v": ([2], [0, 8])},
        {"w": ([1], [0, 4])},
        {"w": ([1], [0, 4]), "v": ([1], [8, 12])},
    ],
    ids=["too few bytes", "beyond the end", "overflow", "the same bytes twice", "bytes left over", "a hole"],
)
def test_safetensors_that_claim_other_sizes_than_the_file_has(
    tmp_path: Path, header: dict[str, tuple[list[int], list[int]]]
) -> None:
    said = {name: {"dtype": "F32", "shape": shape, "data_offsets": ends} for name, (shape, ends) in header.items()}
    encoded = json.dumps(said).encode()
    data = bytes(12 if "v" in header and header["v"][1][1] == 12 else 8)
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)
    with pytest.raises(ValueError, match=r"a\.safetensors is damaged or cut short"):
        read_weights(tmp_path / "a.safetensors")


def shard(folder: Path) -> Path:
    weights = draw()
    save_file({"w": weights["w"], "half": weights["half"]}, folder / "part-1.safetensors")
    save_file({name: weights[name] for name in ("n", "mask", "empty")}, folder / "part-2.safetensors")
    where = {name: f"part-{1 if name in ('w', 'half') else 2}.safetensors" for name in weights}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return index


def test_shards(tmp_path: Path) -> None:
    index = shard(tmp_path)
    assert same(read_weights(index), draw())
    assert same(read_weights(tmp_path), draw())


def test_shards_that_are_wrong(tmp_path: Path) -> None:
    index = shard(tmp_path)
    where = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": {**where, "lost": "part-2.safetensors"}}))
    with pytest.raises(ValueError, match=r"part-2\.safetensors lacks lost"):
        read_weights(index)
    for outside in ("../part-1.safetensors", "/etc/part.safetensors", ".."):
        index.write_text(json.dumps({"weight_map": {**where, "w": outside}}))
        with pytest.raises(ValueError, match="outside its folder"):
            read_weights(index)
    for broken in ("{", "[" * 100_000, "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"w": 3}}'):
        index.write_text(broken)
        with pytest.raises(ValueError, match="not an index of shards"):
            read_weights(index)


def test_a_missing_shard(tmp_path: Path) -> None:
    index = shard(tmp_path)
    (tmp_path / "part-2.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"part-2\.safetensors that .*index\.json names is missing"):
        read_weights(index)


def test_nothing_there_and_nothing_in_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.safetensors: there is no such file"):
        read_weights(tmp_path / "no.safetensors")
    with pytest.raises(FileNotFoundError, match=r"needs one \*\.index\.json"):
        read_weights(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"a\.txt: expected \.safetensors"):
        read_weights(tmp_path / "a.txt")
    torch.save({"epoch": 1, "notes": "none"}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"holds no state dict.*it holds: epoch, notes"):
        read_weights(tmp_path / "a.pt")
    save_file({}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="holds no weights"):
        read_weights(tmp_path / "a.safetensors")
