"""Weights alone: the same numbers as in memory, whatever the files; little memory; what does not fit is said."""

import json
import math
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from bequest.analyses.distance import distances
from bequest.models.opening import open_model
from bequest.study.weights_alone import WIDEST, measure_weights


def moved(weights, seed, keep=0.5):
    stream = torch.Generator().manual_seed(seed)
    return {
        name: tensor + 0.01 * torch.randn(tensor.shape, generator=stream) * (torch.rand(tensor.shape) > keep)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in weights.items()
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A base and two fine-tunes: one file, one in shards, one pickled below a prefix."""
    folder = tmp_path_factory.mktemp("weights")
    base = dict(open_model("resnet8", classes=3, seed=0).state_dict())
    a, b = moved(base, 1), moved(base, 2)
    save_file(base, folder / "base.safetensors")
    names = sorted(a)
    shards = {f"a-{part}.safetensors": names[part::2] for part in (0, 1)}
    for shard, inside in shards.items():
        save_file({name: a[name] for name in inside}, folder / shard)
    where = {name: shard for shard, inside in shards.items() for name in inside}
    (folder / "a.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    torch.save({"state_dict": {f"net.{name}": tensor for name, tensor in b.items()}}, folder / "b.ckpt")
    return folder, {"P": base, "finetune/a": a, "finetune/b": b}


def test_the_numbers_are_those_of_weights_in_memory(files):
    folder, inside = files
    made = measure_weights([folder / "a.safetensors.index.json", folder / "b.ckpt"], base=folder / "base.safetensors")
    a, b = (name for name in inside if name != "P")
    assert made.members == ("P", a, b)
    assert made.modules == ("conv1", "bn1", "layer1.0", "layer2.0", "layer3.0", "fc")
    pair = {name: inside[name] for name in (a, b)}
    plain = distances(pair, initial=dict.fromkeys(pair, inside["P"]))
    for metric in ("l2", "l2_per_sqrt_n", "l2_relative", "cosine", "cosine_from_one_start"):
        found = made.results["distance"].value(metric, a=a, b=b, module="*")
        assert found == pytest.approx(plain.value(metric, a=a, b=b, module="*"), rel=1e-6), metric
    for name in (a, b):
        expected = plain.value("l2_from_start", a=name, module="*")
        assert made.results["distance"].value("l2_from_start", a=name, module="*") == pytest.approx(expected, rel=1e-6)
    weight = "layer1.0.conv1.weight"
    ranks = made.results["spectrum"].select("effective_rank", tensor=weight, of="displacement")
    assert ranks["a"].to_list() == [a, b]
    whole = made.results["changes"].value("unchanged", a="P", b=a, module="fc")
    equal = sum(int((inside[a][f"fc.{key}"] == inside["P"][f"fc.{key}"]).sum()) for key in ("weight", "bias"))
    assert whole == equal / sum(inside["P"][f"fc.{key}"].numel() for key in ("weight", "bias"))


def test_a_head_of_another_size_is_left_out_and_named(tmp_path):
    base = dict(open_model("resnet8", classes=3).state_dict())
    other = base | {name: tensor[:2] for name, tensor in base.items() if name.startswith("fc.")}
    save_file(base, tmp_path / "a.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in other.items()}, tmp_path / "b.safetensors")
    made = measure_weights([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])
    assert "fc" not in made.modules
    said = dict(made.left_out)
    assert any("fc.weight" in what and "another shape" in why for what, why in said.items())
    assert made.results["distance"].value("l2", module="*") == 0
    assert "fc.weight" in made.results["distance"].select("l2", module="*")["note"][0]


def test_tied_tensors_count_once(tmp_path):
    table = torch.randn(6, 4)
    for name, weights in (("a", table), ("b", table + 1)):
        torch.save({"embed.weight": weights, "lm_head.weight": weights}, tmp_path / f"{name}.pt")
    made = measure_weights([tmp_path / "a.pt", tmp_path / "b.pt"])
    assert made.results["distance"].value("l2", module="*") == pytest.approx(math.sqrt(24))
    assert any("the same tensor as embed.weight" in why for _, why in made.left_out)


def test_large_matrices_have_no_spectrum_and_it_is_said(tmp_path):
    for name in "ab":
        save_file({"fc.weight": torch.ones(WIDEST + 1, WIDEST + 1)}, tmp_path / f"{name}.safetensors")
    made = measure_weights([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])
    assert "spectrum" not in made.results
    assert made.left_out[0][1].startswith("no spectrum")


def test_other_networks_and_single_files_are_refused(files, tmp_path):
    folder, _ = files
    save_file({"x": torch.ones(3), "conv1.weight": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="of different networks: 0 of 2 tensors"):
        measure_weights([folder / "base.safetensors", tmp_path / "x.safetensors"])
    with pytest.raises(ValueError, match="nothing to be compared with"):
        measure_weights([folder / "base.safetensors"])


def test_entries_that_are_not_finite_are_named(tmp_path):
    save_file({"fc.weight": torch.ones(2, 2)}, tmp_path / "a.safetensors")
    save_file({"fc.weight": torch.full((2, 2), math.nan)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=r"fc\.weight of 'model/b' has entries that are not finite"):
        measure_weights([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])


def test_files_larger_than_the_memory_that_is_allowed(tmp_path):
    """Three files of 335 MB with tensors of 67 MB, in a process that may hold two of them and 500 MB."""
    tensor = torch.ones(4096, 4096)
    for name in ("p", "a", "b"):
        save_file({f"layers.{n}.weight": tensor.clone() for n in range(5)}, tmp_path / f"{name}.safetensors")
    command = (
        "import sys; from bequest.cli import main; sys.argv = ['bequest', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        "print(code, *[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    )
    words = ["compare", *(str(tmp_path / f"{name}.safetensors") for name in "ab"), "--base", tmp_path / "p.safetensors"]
    ran = subprocess.run(
        [sys.executable, "-c", command, *map(str, words), "--folder", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    code, peak = ran.stdout.split()[-2:]
    assert code in ("0", "None"), ran.stdout + ran.stderr
    assert int(peak) * 1024 <= 2 * tensor.nbytes + 500e6
