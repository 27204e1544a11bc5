"""`bequest compare` on damaged, foreign or hostile files of weights: one message, exit code 2, nothing is run."""

import io
import json
import math
import os
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from bequest.cli import app
from bequest.models.adapters import read_adapter
from bequest.models.files import read_weights
from bequest.models.opening import open_model

WITH_A_MODEL = ["--model", "resnet8", "--data", "digits", "--size", "16"]


class Runs:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.fixture(scope="module")
def sound():
    return {
        name: tensor.contiguous() for name, tensor in open_model("resnet8", classes=10, seed=1).state_dict().items()
    }


def header(path, shape, ends, kind="F32"):
    text = json.dumps({"conv1.weight": {"dtype": kind, "shape": shape, "data_offsets": ends}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))


def spoilt(sound, name, change):
    return sound | {name: change(sound[name].clone())}


def first(value):
    def change(tensor):
        tensor.view(-1)[0] = value
        return tensor

    return change


def malicious(folder, sound, ending, zipped):
    torch.save(
        {"state_dict": sound, "x": Runs(folder / "it-ran")},
        folder / f"bad{ending}",
        _use_new_zipfile_serialization=zipped,
    )


def missing_shard(folder, sound):
    save_file(sound, folder / "part-1.safetensors")
    where = dict.fromkeys(sound, "part-1.safetensors") | {"fc.bias": "part-2.safetensors"}
    (folder / "bad.safetensors.index.json").write_text(json.dumps({"weight_map": where}))


def cut(folder, sound):
    save_file(sound, folder / "bad.safetensors")
    (folder / "bad.safetensors").write_bytes((folder / "bad.safetensors").read_bytes()[:-100])


def claims(folder):
    view = torch.ones(1).expand(2**20, 2**20)
    torch.save({"conv1.weight": view}, folder / "bad.pt")


def script(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(folder / "bad.pt")


def old_tar(folder):
    with tarfile.open(folder / "bad.pt", "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)


def bomb(folder):
    with zipfile.ZipFile(folder / "bad.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))


def put(name, content):
    return lambda folder, sound: (folder / name).write_bytes(content)


BAD = {  # what -> how it is made, what the message says; None where only the file has to be named
    "malicious .pt": (lambda f, s: malicious(f, s, ".pt", True), "wants to run posix.mkdir"),
    "malicious .ckpt": (lambda f, s: malicious(f, s, ".ckpt", True), "wants to run posix.mkdir"),
    "malicious .bin of before torch 1.6": (lambda f, s: malicious(f, s, ".bin", False), "wants to run posix.mkdir"),
    "numpy scalars": (lambda f, s: torch.save({"state_dict": s, "best": np.float64(1)}, f / "bad.pt"), "scalar"),
    "cut short": (cut, "damaged or cut short"),
    "missing shard": (missing_shard, "the shard part-2.safetensors that"),
    "NaN": (lambda f, s: save_file(spoilt(s, "conv1.weight", first(math.nan)), f / "bad.safetensors"), "NaN"),
    "infinite": (lambda f, s: torch.save(spoilt(s, "fc.bias", first(math.inf)), f / "bad.pt"), "infinite"),
    "2**40 elements": (lambda f, s: header(f / "bad.safetensors", [2**20, 2**20], [0, 2**42]), "1,099,511,627,776"),
    "2**40 elements in 8 bytes": (lambda f, s: header(f / "bad.safetensors", [2**20, 2**20], [0, 8]), "claims"),
    "2**120 elements": (lambda f, s: header(f / "bad.safetensors", [2**40, 2**40, 2**40], [0, 8]), "damaged"),
    "none times 2**80 elements": (lambda f, s: header(f / "bad.safetensors", [0, 2**40, 2**40], [0, 0]), "damaged"),
    "a type that is a list": (lambda f, s: header(f / "bad.safetensors", [2], [0, 8], ["F32"]), "damaged"),
    "2**40 elements in a pickle": (lambda f, s: claims(f), "its tensors claim more"),
    "TorchScript": (lambda f, s: script(f), None),
    "an archive of torch 0.1 with links": (lambda f, s: old_tar(f), None),
    "a packed archive": (lambda f, s: bomb(f), "packed archive"),
    "nothing": (put("bad.safetensors", b""), "damaged"),
    "nothing pickled": (put("bad.pt", b""), "damaged"),
    "a web page": (put("bad.bin", b"<!doctype html><title>404</title>"), None),
    "an unknown kind": (put("bad.h5", b"\x89HDF"), "expected .safetensors"),
}
UNFIT = {  # only a network can tell
    "a shape that does not fit": (lambda s: s | {"conv1.weight": torch.ones(4, 3, 3, 3)}, "conv1.weight"),
    "another architecture": (lambda s: dict(open_model("fixup_resnet8", classes=10).state_dict()), "not of this model"),
    "quantised": (lambda s: s | {"conv1.weight": torch.ones(s["conv1.weight"].shape, dtype=torch.int8)}, "int8"),
    "complex": (lambda s: s | {"conv1.weight": s["conv1.weight"] * 1j}, "complex64"),
}


def refused(*words):
    ran = CliRunner().invoke(app, ["compare", *(str(word) for word in words)])
    assert ran.exit_code == 2, (ran.exception, ran.output)
    lines = ran.output.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("bequest: "), ran.output
    return lines[0]


@pytest.mark.parametrize("options", [[], WITH_A_MODEL], ids=["alone", "with a model"])
@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_named_and_nothing_is_run_or_written(what, options, sound, tmp_path):
    make, said = BAD[what]
    save_file(sound, tmp_path / "good.safetensors")
    make(tmp_path, sound)
    bad = next(tmp_path.glob("bad*"))
    message = refused(tmp_path / "good.safetensors", bad, *options, "--folder", tmp_path / "out")
    assert "bad" in message and (said or "bad") in message
    assert len(message) < 900
    if not options or what in ("NaN", "malicious .pt"):
        as_base = refused(tmp_path / "good.safetensors", "--base", bad, *options, "--folder", tmp_path / "out")
        assert (said or "bad") in as_base
    assert not (tmp_path / "it-ran").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", UNFIT)
def test_weights_that_do_not_fit_are_named_before_anything_is_run(what, sound, tmp_path):
    change, said = UNFIT[what]
    save_file(sound, tmp_path / "good.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in change(sound).items()}, tmp_path / "bad.safetensors")
    words = [tmp_path / "good.safetensors", tmp_path / "bad.safetensors", *WITH_A_MODEL, "--folder", tmp_path / "out"]
    message = refused(*words)
    assert "bad.safetensors" in message and said in message
    assert not (tmp_path / "out").exists()
    as_base = refused(words[0], "--base", words[1], *words[2:])
    assert "bad.safetensors" in as_base and said in as_base


def test_weights_of_other_networks_are_told_from_each_other_without_one(sound, tmp_path):
    save_file(sound, tmp_path / "good.safetensors")
    other = {f"layers.{n}.weight": torch.ones(30, 30) for n in range(4)}
    save_file(other, tmp_path / "bad.safetensors")
    message = refused(tmp_path / "good.safetensors", tmp_path / "bad.safetensors", "--folder", tmp_path / "out")
    assert "model/good and model/bad are of different networks" in message


def test_a_mix_of_types_is_compared(sound, tmp_path):
    mixed = {n: t.bfloat16() if i % 2 and t.is_floating_point() else t for i, (n, t) in enumerate(sound.items())}
    save_file(sound, tmp_path / "a.safetensors")
    save_file(mixed, tmp_path / "b.safetensors")
    words = [
        "compare",
        str(tmp_path / "a.safetensors"),
        str(tmp_path / "b.safetensors"),
        "--folder",
        str(tmp_path / "o"),
    ]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "o" / "report.html").is_file()


def test_hostile_names_of_tensors_and_files_reach_no_terminal_and_no_page(tmp_path):
    names = [
        "\x1b]0;owned\x07.weight",
        "<img src=x onerror=alert(1)>.weight",
        "../../a\u202eb.weight",
        "n" * 4_000 + ".weight",
    ]
    stream = torch.Generator().manual_seed(0)
    for file in ("<b>\x1b[31m.safetensors", "two\n.safetensors"):
        tensors = {name: torch.randn(3, 3, generator=stream) for name in names}
        save_file(tensors | {f"{file[0]}\x1b[2J": torch.ones(2)}, tmp_path / "x.safetensors")
        (tmp_path / "x.safetensors").rename(tmp_path / file)
    folder = tmp_path / "o\x1b[31m"
    words = ["compare", *(str(file) for file in sorted(tmp_path.glob("*.safetensors"))), "--folder", str(folder)]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    assert "\x1b" not in ran.output and "\\x1b[2J" in ran.output
    page = (folder / "report.html").read_text()
    assert (
        "\x1b" not in page and "\u202e" not in page and "<img src=x" not in page and "<b>" not in page.split("<main")[0]
    )
    buffer = io.StringIO(page)
    assert sum(line.startswith("<script") for line in buffer) == 4


@pytest.mark.parametrize("alpha", ["10", [1], None, 10**400, math.inf, math.nan, {"a": 1}])
def test_an_adapter_whose_alpha_is_no_number_is_refused(alpha, tmp_path):
    matrices = {
        "base_model.model.fc.lora_A.weight": torch.ones(1, 3),
        "base_model.model.fc.lora_B.weight": torch.ones(2, 1),
    }
    save_file(matrices, tmp_path / "adapter_model.safetensors")
    said = {"peft_type": "LORA", "lora_alpha": 4, "alpha_pattern": {"fc": 2}}
    for spoilt_part in ({"lora_alpha": alpha}, {"alpha_pattern": {"fc": alpha}}):
        (tmp_path / "adapter_config.json").write_text(json.dumps(said | spoilt_part))
        with pytest.raises(ValueError, match=r"adapter_config\.json is not what PEFT writes"):
            read_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(said))
    assert read_adapter(tmp_path).changes["fc"].scale == 2


@pytest.mark.parametrize(("a", "b"), [((3,), (2, 1)), ((1, 3), (2,)), ((2, 3), (2, 1)), ((0, 3), (2, 0)), ((), ())])
def test_an_adapter_whose_matrices_do_not_fit_is_refused(a, b, tmp_path):
    matrices = {"base_model.model.fc.lora_A.weight": torch.ones(a), "base_model.model.fc.lora_B.weight": torch.ones(b)}
    save_file(matrices, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 4}))
    save_file({"fc.weight": torch.ones(2, 3)}, tmp_path / "base.safetensors")
    with pytest.raises(ValueError, match="adapter"):
        read_weights(tmp_path, base=tmp_path / "base.safetensors")
