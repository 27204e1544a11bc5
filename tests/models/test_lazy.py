import gc
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bequest.models.files import open_weights, read_weights


def draw() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(6, 8, generator=generator)
    return {
        "w": whole,
        "turned": torch.randn(3, 4, generator=generator).T,
        "half": torch.randn(5, generator=generator).bfloat16(),
        "tied": whole,
        "n": torch.tensor(3),
        "mask": torch.tensor([True, False, True]),
        "wide": torch.randn(2, generator=generator).double(),
        "empty": torch.zeros(0, 2),
    }


def save(folder: Path, kind: str) -> Path:
    weights = draw()
    if kind == "zip":
        torch.save(weights, folder / "a.pt")
        return folder / "a.pt"
    if kind == "old":
        torch.save(weights, folder / "a.pt", _use_new_zipfile_serialization=False)
        return folder / "a.pt"
    plain = {name: tensor.clone().contiguous() for name, tensor in weights.items()}
    if kind == "safetensors":
        save_file(plain, folder / "a.safetensors")
        return folder / "a.safetensors"
    ending = kind.removeprefix("shards of ")
    where = {name: f"part-{number % 2}.{ending}" for number, name in enumerate(plain)}
    for file in set(where.values()):
        part = {name: plain[name] for name in plain if where[name] == file}
        torch.save(part, folder / file) if ending == "bin" else save_file(part, folder / file)
    index = folder / f"model.{ending}.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    return index


KINDS = ["safetensors", "zip", "old", "shards of safetensors", "shards of bin"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_every_tensor(tmp_path: Path, kind: str) -> None:
    weights = open_weights(save(tmp_path, kind))
    assert weights.keys() == draw().keys() and len(weights) == 8 and "w" in weights and "v" not in weights
    for name, tensor in draw().items():
        assert weights.shapes[name] == tuple(tensor.shape) and weights.sizes[name] == tensor.nbytes
        assert torch.equal(weights[name], tensor) and weights[name].dtype == tensor.dtype
    with pytest.raises(KeyError):
        weights["v"]


@pytest.mark.parametrize("kind", ["safetensors", "zip", "old"])
def test_the_file_and_other_readers_do_not_see_what_is_written_to_a_tensor(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path, kind)
    before = path.read_bytes()
    weights = read_weights(path)
    weights["wide"].zero_()
    open_weights(path)["half"].zero_()
    assert path.read_bytes() == before and torch.equal(open_weights(path)["half"], draw()["half"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_removed_or_replaced_stays_readable(tmp_path: Path, kind: str) -> None:
    weights = open_weights(save(tmp_path, kind))
    for name in weights:
        assert torch.equal(weights[name], draw()[name])
    for file in tmp_path.iterdir():
        file.unlink()
    assert torch.equal(weights["w"], draw()["w"])


@pytest.mark.parametrize("kind", ["zip", "old"])
def test_tied_tensors_stay_one(tmp_path: Path, kind: str) -> None:
    weights = read_weights(save(tmp_path, kind))
    assert weights["w"].data_ptr() == weights["tied"].data_ptr()


def test_numbers_that_do_not_start_at_a_multiple_of_their_size(tmp_path: Path) -> None:
    header = {"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}
    header["b"] = {"dtype": "F64", "shape": [2], "data_offsets": [3, 19]}
    text = json.dumps(header).encode()
    numbers = bytes([1, 2, 3]) + torch.tensor([0.5, -2.0], dtype=torch.float64).numpy().tobytes()
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + numbers)
    weights = open_weights(tmp_path / "a.safetensors")
    assert weights["a"].tolist() == [1, 2, 3] and weights["b"].tolist() == [0.5, -2.0]


def test_a_type_that_torch_does_not_have(tmp_path: Path) -> None:
    text = json.dumps({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(1))
    with pytest.raises(ValueError, match="a is of type 'F4', which torch does not have"):
        open_weights(tmp_path / "a.safetensors")


def test_a_header_that_claims_a_terabyte_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    text = json.dumps({"w": {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(
        ValueError, match=r"w claims 1,099,511,627,776 elements, 4,398,046,511,104 bytes, but .* holds 8"
    ):
        open_weights(tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes((2**62).to_bytes(8, "little") + text)
    with pytest.raises(ValueError, match="its header ends behind the end of the file"):
        open_weights(tmp_path / "a.safetensors")


def rewritten(path: Path, change: object, compress: int = zipfile.ZIP_STORED) -> None:
    """Write the archive again with its pickle changed."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, part in parts.items():
            archive.writestr(name, change(name, part))  # type: ignore[operator]


def test_a_pickle_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.arange(200.0)}, path)
    huge = b"\x8a\x06" + (2**40).to_bytes(6, "little")  # a long integer in place of a small one
    rewritten(path, lambda name, part: part.replace(b"K\xc8", huge) if name.endswith("data.pkl") else part)
    with pytest.raises(ValueError, match=r"its tensors claim more \(w alone 4,398,046,511,104\)|is damaged"):
        read_weights(path)


def test_packed_archives_are_refused_and_other_byte_orders_are_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(draw(), path)
    rewritten(path, lambda name, part: b"big" if name.endswith("byteorder") else part)
    swapped = read_weights(path)["wide"]
    assert swapped.numpy().byteswap().tolist() == draw()["wide"].tolist()
    torch.save(draw(), path)
    rewritten(path, lambda _, part: part, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"a\.pt is a packed archive, not a file of weights"):
        read_weights(path)


def test_a_walk_holds_one_tensor_at_a_time(tmp_path: Path) -> None:
    save_file({f"w{i}": torch.full((2**21,), float(i)) for i in range(16)}, tmp_path / "a.safetensors")  # 16 x 8 MiB
    torch.save({f"w{i}": torch.full((2**21,), float(i)) for i in range(16)}, tmp_path / "a.pt")
    code = """if True:
        import sys
        from bequest.models.files import open_weights
        def peak():
            return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
        first, second = [open_weights(path) for path in sys.argv[1:]]
        first["w0"].sum()
        before = peak()
        for walked in (first, second):
            assert [float(walked[name].mean()) for name in sorted(walked)] == sorted(range(16), key=str)
        print(peak() - before)
        kept = [first[name] for name in first]
        print(sum(float(tensor.mean()) for tensor in kept), peak() - before)
    """
    files = [str(tmp_path / name) for name in ("a.safetensors", "a.pt")]
    ran = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True)
    walk, total, kept = map(float, ran.stdout.split())
    assert walk < 16 and total == 120  # one tensor, and room for what torch needs; the files have 128 each
    assert kept > 100  # the tensors are really there


def test_tensors_outlive_the_weights_that_they_came_from(tmp_path: Path) -> None:
    weights = open_weights(save(tmp_path, "safetensors"))
    tensor, part = weights["w"], weights["w"][2]
    del weights
    gc.collect()
    assert torch.equal(tensor, draw()["w"]) and torch.equal(part, draw()["w"][2])


@pytest.mark.parametrize("nest", ["state_dict", "model", "net", "model_state_dict", "state_dict_ema", "params"])
def test_nested_twice_and_chosen_by_name(tmp_path: Path, nest: str) -> None:
    inner, other = {"w": torch.ones(2)}, {"w": torch.zeros(2)}
    torch.save({"epoch": 1, "model": {nest: inner, "step": 3}, "teacher": other}, tmp_path / "a.ckpt")
    assert torch.equal(read_weights(tmp_path / "a.ckpt")["w"], inner["w"])
    assert torch.equal(read_weights(tmp_path / "a.ckpt", nest="teacher")["w"], other["w"])
    with pytest.raises(ValueError, match=r"holds no state dict, under pupil; it holds: epoch, model, teacher"):
        read_weights(tmp_path / "a.ckpt", nest="pupil")


def test_a_lightning_checkpoint(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    content = {
        "epoch": 2,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {f"net.{name}": tensor for name, tensor in model.state_dict().items()}
        | {"loss.weight": torch.ones(2)},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(2, 3)}}}],
        "hyper_parameters": {"lr": 0.1},
    }
    torch.save(content, tmp_path / "a.ckpt")
    assert set(read_weights(tmp_path / "a.ckpt")) == {"net.0.weight", "net.0.bias", "loss.weight"}


def test_extra_state_is_no_tensor_and_left_out(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1), "block._extra_state": {"x": 1}}, tmp_path / "a.pt")
    assert list(read_weights(tmp_path / "a.pt")) == ["w"]


class Runs:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_trust_is_explicit_and_runs_the_file(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.ones(2)}, "x": Runs(tmp_path / "ran")}, tmp_path / "a.pt")
    for reader in (read_weights, open_weights):
        with pytest.raises(ValueError, match=r"posix\.mkdir .*It was not run\..*trust_pickle=True \(--trust-pickle\)"):
            reader(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()
    assert torch.equal(read_weights(tmp_path / "a.pt", trust_pickle=True)["w"], torch.ones(2))
    assert (tmp_path / "ran").exists()


def test_a_pickle_with_numpy_scalars_is_refused_by_name_and_read_when_trusted(tmp_path: Path) -> None:
    import numpy as np

    torch.save({"model": {"w": torch.ones(2)}, "best": np.float64(0.9)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"wants to run numpy\._?core\.multiarray\.scalar when it is opened"):
        read_weights(tmp_path / "a.pt")
    assert list(read_weights(tmp_path / "a.pt", trust_pickle=True)) == ["w"]


def test_a_trusted_file_with_a_whole_model(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    torch.save(model, tmp_path / "a.pt")
    torch.save({"epoch": 1, "model": model}, tmp_path / "b.pt")
    for file in ("a.pt", "b.pt"):
        with pytest.raises(ValueError, match=r"wants to run torch\.nn\.modules\.linear\.Linear"):
            read_weights(tmp_path / file)
        assert torch.equal(read_weights(tmp_path / file, trust_pickle=True)["weight"], model.weight)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "old"])
def test_any_damage_ends_in_a_message_that_names_the_file(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path, kind)
    sound = path.read_bytes()
    generator = random.Random(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(sound)
        for _ in range(3):
            damaged[generator.randrange(len(sound))] = generator.choice((0, 255, generator.randrange(256)))
        path.write_bytes(damaged)
        try:
            assert all(isinstance(tensor, Tensor) for tensor in read_weights(path).values())
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 20
