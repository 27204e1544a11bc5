"""`bequest compare` on other people's networks: from files to a report, through the command line."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional
from typer.testing import CliRunner

from bequest.cli import app
from bequest.models.opening import open_model
from bequest.study.comparing import comparison
from bequest.study.reading import read_study

SIZE = 32
FEW = "analyses={mistakes: {}, similarity: {batch_size: 8}, distance: {}, barrier: {points: 3}}"
MODELS = {
    "timm:resnet18": ["conv1", "layer1.0", "layer4.1", "fc"],
    f"timm:vit_tiny_patch16_224?img_size={SIZE}&depth=2": ["patch_embed", "blocks.0", "blocks.1", "head"],
    "torchvision:squeezenet1_1": ["features.0", "features.3", "classifier.1"],
    "hf:resnet": ["resnet.embedder", "resnet.encoder.stages.0.layers.0", "classifier.1"],
}


@pytest.fixture
def bequest():
    """Run the command line in this process: to import these libraries again for each test would take most of it."""
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def draw(label, stream):
    """Two classes that a few steps can tell apart: dark and light squares."""
    return stream.normal(70 + 110 * label, 40, (SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, stream = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, count in (("train", 6), ("validation", 2), ("test", 6)):
        for label, name in enumerate(("dark", "light")):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(draw(label, stream)).save(place / f"{number}.png")
    return folder


def train_a_little(model, seed):
    """Four steps on such squares; the weights afterwards."""
    stream = np.random.default_rng(seed)
    labels = torch.arange(8) % 2
    images = torch.stack([torch.tensor(draw(int(one), stream)).permute(2, 0, 1) / 127.5 - 1 for one in labels])
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    model.train()
    for _ in range(4):
        found = model(images)
        optimiser.zero_grad()
        functional.cross_entropy(getattr(found, "logits", found), labels).backward()
        optimiser.step()
    return {name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def hf_resnet(tmp_path_factory):
    """A folder as transformers saves it, with a small ResNet and its preprocessing."""
    from bequest.models.torchvision_ops import ready_torchvision

    ready_torchvision()
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("hf") / "resnet"
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=2
    )
    transformers.ResNetForImageClassification(config).save_pretrained(folder)
    said = {
        "size": {"shortest_edge": SIZE},
        "crop_pct": 0.5,
        "resample": 3,
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.25, 0.3],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_two_fine_tunes_and_their_base_from_files_to_a_report(name, photos, request, tmp_path, bequest):
    full = f"hf:{request.getfixturevalue('hf_resnet')}" if name == "hf:resnet" else name
    base = open_model(full, classes=2, seed=1)
    save_file({key: value.contiguous() for key, value in base.state_dict().items()}, tmp_path / "base.safetensors")
    one, other = (train_a_little(open_model(full, classes=2, seed=1), seed) for seed in (1, 2))
    save_file(one, tmp_path / "one.safetensors")
    torch.save({"state_dict": {f"module.{key}": value for key, value in other.items()}}, tmp_path / "other.pth")
    folder = tmp_path / "out"
    words = ["compare", tmp_path / "one.safetensors", tmp_path / "other.pth", "--base", tmp_path / "base.safetensors"]
    words += ["--model", full, "--data", f"folder:{photos}", "--folder", folder, "--change", FEW]
    ran = bequest(*words, *(["--size", SIZE] if name != "hf:resnet" else []))
    assert ran.exit_code == 0, ran.output
    study = read_study(folder / "study.yaml")
    assert study.size == SIZE
    if name == "hf:resnet":  # its own preprocessing
        assert study.mean == (0.4, 0.5, 0.6)
        assert study.std == (0.2, 0.25, 0.3)
        assert (study.interpolation, study.crop) == ("bicubic", 0.5)
    elif name.startswith("t"):
        assert study.mean != (0.5, 0.5, 0.5) or "vit" in name
    rows = {path.parent.name.split("-")[0]: pl.read_parquet(path) for path in folder.glob("steps/*/rows.parquet")}
    modules = rows["distance"]["module"].unique(maintain_order=True).to_list()
    places = [modules.index(module) for module in MODELS[name]]
    assert places == sorted(places), modules
    apart = rows["distance"].filter(metric="l2", module="*", a="finetune/one", b="finetune/other")["value"][0]
    trained = [key for key, _ in base.named_parameters()]
    expected = sum(float((one[key].double() - other[key].double()).square().sum()) for key in trained) ** 0.5
    assert apart == pytest.approx(expected, rel=1e-9)
    assert {"mistakes", "similarity", "barrier", "decide_soup"} <= rows.keys()
    page = (folder / "report.html").read_text()
    assert "Which fine-tunes to average" in page
    assert "2 sets of weights, given as files, compared with each other, and with P" in page
    assert "trained on <b>" not in page


def test_matching_is_left_out_where_attention_does_not_allow_it(photos, tmp_path, bequest):
    name = f"timm:vit_tiny_patch16_224?img_size={SIZE}&depth=1"
    for seed, called in ((0, "base"), (1, "one"), (2, "other")):
        model = open_model(name, classes=2, seed=seed)
        save_file(dict(model.state_dict()), tmp_path / f"{called}.safetensors")
    files = [tmp_path / "one.safetensors", tmp_path / "other.safetensors"]
    words = ["compare", *files, "--base", tmp_path / "base.safetensors", "--model", name, "--size", SIZE]
    words += ["--data", f"folder:{photos}"]
    quick = [
        "--change",
        "criticality.draws=0",
        "--change",
        "criticality.images=8",
        "--change",
        "barrier.points=3",
        "--change",
        "basin.samples=4",
        "--change",
        "similarity.batch_size=8",
    ]
    ran = bequest(*words, *quick, "--folder", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert "measure criticality: done" in ran.output
    assert "measure matching" not in ran.output
    said = (tmp_path / "out" / "report.html").read_text()
    assert "What is left out" in said
    assert "<b>matching</b>" in said
    study = read_study(tmp_path / "out" / "study.yaml")
    assert "matching" not in study.asked()
    assert "matching" in study.left_out
    words = [*words, "--change", "analyses={matching: {points: 3}}", "--folder", tmp_path / "named"]
    named = bequest(*words)
    assert named.exit_code == 1
    assert "measure matching: " in named.output
    again = comparison(files, model=name, data=f"folder:{photos}", size=SIZE, changes=["matching.points=3"])
    assert "matching" in again.asked()  # by name: it is made, or fails


NETS = """
import os
from torch import nn

class Moody(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.Linear(3, classes)

    def forward(self, images):
        if os.environ.get("MOOD"):
            raise ValueError("no images " + os.environ["MOOD"])
        return self.fc(images.mean((2, 3)))
"""


def test_when_all_fails_the_report_names_the_failures_of_this_run(photos, tmp_path, bequest, monkeypatch):
    (tmp_path / "moody_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    save_file({"fc.weight": torch.eye(3)[:2].contiguous(), "fc.bias": torch.zeros(2)}, tmp_path / "one.safetensors")
    folder = tmp_path / "out"
    words = ["compare", tmp_path / "one.safetensors", "--model", "moody_nets:Moody", "--data", f"folder:{photos}"]
    words += ["--size", SIZE, "--change", "analyses={mistakes: {}}", "--folder", folder]
    for day, other in (("on Monday", "on Tuesday"), ("on Tuesday", "on Monday")):
        monkeypatch.setenv("MOOD", day)
        ran = bequest(*words)
        assert ran.exit_code == 1, ran.output
        assert f"report: {folder / 'report.html'}" in ran.output
        page = (folder / "report.html").read_text()
        assert f"no images {day}" in page
        assert f"no images {other}" not in page
        assert "Where it happened" in page
    monkeypatch.delenv("MOOD")
    assert bequest(*words).exit_code == 0
    assert "no images" not in (folder / "report.html").read_text()


TEXT = {
    "bert": ["bert.embeddings", "bert.encoder.layer.0", "bert.encoder.layer.1", "bert.pooler", "classifier"],
    "decoder": ["model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "lm_head"],
}


@pytest.mark.parametrize("kind", TEXT)
def test_networks_of_text_by_their_weights_alone(kind, tmp_path, bequest):
    from bequest.models.torchvision_ops import ready_torchvision

    ready_torchvision()
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "bert":
        config = transformers.BertConfig(vocab_size=50, max_position_embeddings=16, **sizes)
        made = transformers.BertForSequenceClassification
    else:
        config = transformers.LlamaConfig(vocab_size=50, num_key_value_heads=2, **sizes)
        made = transformers.LlamaForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = made(config)
    model.save_pretrained(tmp_path / "base")
    for called, step in (("one", 0.01), ("other", -0.01)):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "layer" in name:  # the embeddings stay frozen
                    parameter += step
        model.save_pretrained(tmp_path / called, max_shard_size="20KB")
    assert list((tmp_path / "one").glob("*.index.json"))
    folder = tmp_path / "out"
    ran = bequest("compare", tmp_path / "one", tmp_path / "other", "--base", tmp_path / "base", "--folder", folder)
    assert ran.exit_code == 0, ran.output
    assert json.loads((folder / "comparison.json").read_text())["modules"] == TEXT[kind]
    rows = pl.read_parquet(folder / "changes.parquet")
    shares = dict(rows.filter(metric="unchanged", b="finetune/one").select("module", "value").iter_rows())
    assert shares[TEXT[kind][0]] == 1
    assert shares[TEXT[kind][1]] < 0.01
    assert "no network was run" in (folder / "report.html").read_text()
    (folder / "study.yaml").write_text("name: mine\n")  # the folder of a study is left as it is
    ran = bequest("compare", tmp_path / "one", tmp_path / "other", "--folder", folder)
    assert ran.exit_code == 2 and "holds a study, whose report would be lost" in ran.output


def test_half_a_network_and_a_size_without_one_are_refused(tmp_path, bequest):
    ran = bequest("compare", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--model", "resnet8")
    assert ran.exit_code == 2
    assert "--data is missing" in ran.output
    ran = bequest("compare", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--size", 32)
    assert ran.exit_code == 2
    assert "--size needs a network and data" in ran.output
    ran = bequest("compare", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--folder", tmp_path / "out")
    assert ran.exit_code == 2
    assert "a.safetensors" in ran.output
    assert not (tmp_path / "out").exists()
