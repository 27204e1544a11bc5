from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bequest.models.from_timm import load_timm
from bequest.models.head import head_name, head_parts, replace_head
from bequest.models.opening import open_model
from bequest.models.order import modules
from bequest.models.record import opening_of

timm = load_timm()
import huggingface_hub  # noqa: E402 - comes with timm

VIT = "timm:vit_tiny_patch16_224?img_size=32&depth=2"
IMAGE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def blocks(*depths: int, of: str) -> list[str]:
    return [of.format(i, j) for i, depth in enumerate(depths) for j in range(depth)]


CONVNEXT = ["stem.0", *blocks(2, 2, 6, 2, of="stages.{}.blocks.{}")]
for stage in (1, 2, 3):
    CONVNEXT.insert(CONVNEXT.index(f"stages.{stage}.blocks.0"), f"stages.{stage}.downsample.1")
MODELS = {
    VIT: ["patch_embed", "blocks.0", "blocks.1", "head"],
    "timm:resnet18": ["conv1", *(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)), "fc"],
    "timm:convnext_atto": [*CONVNEXT, "head"],
    "timm:efficientnet_lite0": [
        "conv_stem",
        *blocks(1, 2, 2, 3, 3, 4, 1, of="blocks.{}.{}"),
        "conv_head",
        "classifier",
    ],
    "timm:regnetx_002": [
        "stem",
        "s1.b1",
        "s2.b1",
        *(f"s3.b{i + 1}" for i in range(4)),
        *(f"s4.b{i + 1}" for i in range(7)),
        "head",
    ],
}


@pytest.mark.parametrize("name", MODELS)
def test_modules_have_the_names_that_people_use(name: str) -> None:
    model = open_model(name, classes=3)
    found = modules(model, IMAGE)
    assert [module.name for module in found] == MODELS[name]
    every = [key for module in found for key in (*module.parameters, *module.buffers)]
    assert sorted(every) == sorted(model.state_dict())
    assert model.training and model.eval()(IMAGE).shape == (2, 3)


def test_the_seed_decides_the_weights_and_the_global_state_stays() -> None:
    state = torch.get_rng_state()
    first, again, other = (open_model(VIT, classes=3, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], other["blocks.0.attn.qkv.weight"])


@pytest.mark.parametrize(
    ("name", "head"), [(VIT, "head"), ("timm:convnext_atto", "head.fc"), ("timm:efficientnet_lite0", "classifier")]
)
def test_a_head_for_other_classes(name: str, head: str) -> None:
    source = open_model(name, classes=4)
    model = open_model(name, classes=6, weights=source.state_dict(), seed=5)
    assert head_name(model) == head and model.get_submodule(head).out_features == 6
    same = [key for key in model.state_dict() if not key.startswith(head)]
    assert all(torch.equal(model.state_dict()[key], source.state_dict()[key]) for key in same)
    said = opening_of(model)
    assert (said.head, said.head_drawn, said.classes, said.seed) == (head, True, 6, 5)
    with pytest.raises(ValueError, match=rf"{head}\.weight is \[4, .*Only the head differs"):
        open_model(name, weights=source.state_dict())


def test_two_heads_and_a_head_that_is_a_convolution() -> None:
    options = {"img_size": 32, "depth": 1, "num_classes": 4}
    model = timm.create_model("deit_tiny_distilled_patch16_224", **options)
    assert head_parts(model) == ("head", "head_dist")
    new = replace_head(model, 7, seed=0)
    assert new.get_classifier()[0].out_features == new.get_classifier()[1].out_features == new.num_classes == 7
    assert not torch.equal(new.head.weight, new.head_dist.weight)
    assert model.num_classes == 4 and new.eval()(IMAGE).shape == (2, 7)
    convolution = timm.create_model(
        "resnetv2_50", num_classes=4, layers=(1, 1, 1, 1), channels=(8, 8, 8, 8), stem_chs=8
    )
    assert head_name(convolution) == "head.fc"
    assert replace_head(convolution, 7, seed=0).eval()(IMAGE).shape == (2, 7)


def test_weights_that_came_through_a_wrapper(tmp_path: Path) -> None:
    source = open_model(VIT, classes=3, seed=1).state_dict()
    for prefix in ("module.", "model.", "net.", "_orig_mod.", "model._orig_mod.module.", "student.backbone."):
        torch.save({"state_dict": {prefix + key: tensor for key, tensor in source.items()}}, tmp_path / "a.ckpt")
        model = open_model(VIT, classes=3, weights=tmp_path / "a.ckpt")
        assert all(torch.equal(tensor, source[key]) for key, tensor in model.state_dict().items())
    lightning = {f"net.{key}": tensor for key, tensor in source.items()} | {"criterion.weight": torch.ones(3)}
    torch.save({"state_dict": lightning}, tmp_path / "a.ckpt")
    model = open_model(VIT, classes=5, weights=tmp_path / "a.ckpt")
    assert (
        opening_of(model).left_out == ("criterion.weight",)
        and "1 tensors of the file not used" in opening_of(model).sentence
    )
    assert torch.equal(model.state_dict()["pos_embed"], source["pos_embed"])
    with pytest.raises(ValueError, match=r"unknown \(criterion\.weight\)"):
        open_model(VIT, classes=3, weights={**source, "criterion.weight": torch.ones(3)})


def test_published_weights_come_from_the_cache_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(FileNotFoundError, match=r"timm:resnet10t are not on this machine, and nothing is downloaded"):
        open_model("timm:resnet10t", weights="pretrained")
    source = open_model("timm:resnet10t", seed=7).state_dict()
    cfg = timm.get_pretrained_cfg("resnet10t")
    cached = tmp_path / f"models--{cfg.hf_hub_id.replace('/', '--')}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    (cached / "snapshots" / "abc").mkdir(parents=True)
    save_file(source, cached / "snapshots" / "abc" / "model.safetensors")
    model = open_model("timm:resnet10t", weights="pretrained", classes=3)
    assert torch.equal(model.state_dict()["layer1.0.conv1.weight"], source["layer1.0.conv1.weight"])
    assert opening_of(model).weights.endswith("model.safetensors") and opening_of(model).head_drawn


def test_names_and_options_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="timm has no model 'resnet19', did you mean 'resnet"):
        open_model("timm:resnet19")
    with pytest.raises(ValueError, match=r"timm cannot build 'resnet18' with \{'widht': 3\}"):
        open_model("timm:resnet18?widht=3")
    with pytest.raises(ValueError, match=r"timm cannot build 'resnet18\.nothing'"):
        open_model("timm:resnet18.nothing")
    with pytest.raises(ValueError, match=r"options are given as name=value, joined by &; 'depth' is not"):
        open_model("timm:vit_tiny_patch16_224?depth")
    with pytest.raises(ValueError, match="no weights are published for 'resnet8'"):
        open_model("resnet8", weights="pretrained")
