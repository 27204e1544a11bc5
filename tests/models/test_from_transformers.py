import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bequest.models.fitting import fit_weights, named_as, transfer
from bequest.models.from_transformers import load_transformers
from bequest.models.head import head_name, head_parts
from bequest.models.opening import open_model
from bequest.models.order import modules
from bequest.models.record import opening_of

transformers = load_transformers()
SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
TEXT = {"input_ids": torch.tensor([[3, 4, 5], [6, 7, 1]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
IMAGE = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def bert(kind: str = "BertForSequenceClassification", **more: object) -> nn.Module:
    return getattr(transformers, kind)(transformers.BertConfig(vocab_size=11, **SIZES, **more))


def llama(kind: str = "LlamaForCausalLM", **more: object) -> nn.Module:
    return getattr(transformers, kind)(transformers.LlamaConfig(vocab_size=11, **SIZES, **more))


def vit(kind: str = "ViTForImageClassification", **more: object) -> nn.Module:
    return getattr(transformers, kind)(transformers.ViTConfig(image_size=16, patch_size=4, **SIZES, **more))


def resnet() -> nn.Module:
    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [2, 1], "layer_type": "basic"}
    return transformers.ResNetForImageClassification(transformers.ResNetConfig(**sizes))


MODELS = {
    "bert": (
        bert,
        TEXT,
        ["bert.embeddings", "bert.encoder.layer.0", "bert.encoder.layer.1", "bert.pooler", "classifier"],
    ),
    "llama": (llama, TEXT, ["model.embed_tokens", "model.layers.0", "model.layers.1", "lm_head"]),
    "tied llama": (
        lambda: llama(tie_word_embeddings=True),
        TEXT,
        ["model.embed_tokens", "model.layers.0", "model.layers.1"],
    ),
    "vit": (vit, IMAGE, ["vit.embeddings", "vit.layers.0", "vit.layers.1", "classifier"]),
    "resnet": (
        resnet,
        IMAGE,
        [
            "resnet.embedder",
            *(f"resnet.encoder.stages.{i}.layers.{j}" for i, j in ((0, 0), (0, 1), (1, 0))),
            "classifier.1",
        ],
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_folder_opens_with_its_weights_and_the_names_that_people_use(tmp_path: Path, name: str) -> None:
    make, example, units = MODELS[name]
    model = make().eval()
    model.save_pretrained(tmp_path)
    state = torch.get_rng_state()
    opened = open_model(f"hf:{tmp_path}", weights="pretrained")
    assert torch.equal(torch.get_rng_state(), state) and opened.training
    assert type(opened) is type(model)
    for key, tensor in opened.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[key]), key
    inputs = example if isinstance(example, dict) else {"pixel_values": example}
    torch.testing.assert_close(opened.eval()(**inputs).logits, model(**inputs).logits)
    found = modules(opened, example)
    assert [module.name for module in found] == units
    every = [key for module in found for key in (*module.parameters, *module.buffers)]
    assert sorted(every) == sorted(opened.state_dict())


@pytest.mark.parametrize("name", ["bert", "llama", "vit", "resnet"])
def test_the_seed_decides_the_weights_and_nothing_else_is_drawn(tmp_path: Path, name: str) -> None:
    MODELS[name][0]().save_pretrained(tmp_path)
    state = torch.get_rng_state()
    first, again, other = (open_model(f"hf:{tmp_path}", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize(("name", "head"), [("bert", "classifier"), ("llama", "score"), ("vit", "classifier")])
def test_another_number_of_classes(tmp_path: Path, name: str, head: str) -> None:
    model = MODELS[name][0]()
    model.save_pretrained(tmp_path)
    opened = open_model(f"hf:{tmp_path}", classes=5, weights=tmp_path, seed=3)
    assert head_name(opened) == head and opened.state_dict()[f"{head}.weight"].shape == (5, 8)
    for key, tensor in opened.state_dict().items():
        if not key.startswith(head):
            assert torch.equal(tensor, model.state_dict()[key]), key
    said = opening_of(opened)
    assert said.head_drawn and said.head == head and f"head {head} drawn for 5 classes with seed 3" in said.sentence
    again, other = (open_model(f"hf:{tmp_path}", classes=5, weights=tmp_path, seed=seed) for seed in (3, 4))
    heads = [each.state_dict()[f"{head}.weight"] for each in (opened, again, other)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    inputs = TEXT if name != "vit" else {"pixel_values": IMAGE}
    assert opened(**inputs).logits.shape == (2, 5)


def test_a_trunk_and_a_model_of_another_task_get_a_fresh_classifier(tmp_path: Path) -> None:
    trunk, masked = bert("BertModel"), bert("BertForMaskedLM")
    trunk.save_pretrained(tmp_path / "trunk")
    masked.save_pretrained(tmp_path / "masked")
    opened = open_model(f"hf:{tmp_path / 'trunk'}", classes=4, weights="pretrained")
    assert torch.equal(opened.state_dict()["bert.pooler.dense.weight"], trunk.state_dict()["pooler.dense.weight"])
    opened = open_model(f"hf:{tmp_path / 'masked'}", classes=4, weights="pretrained")
    key = "encoder.layer.1.output.dense.weight"
    assert torch.equal(opened.state_dict()[f"bert.{key}"], masked.state_dict()[f"bert.{key}"])
    assert any(name.startswith("cls.predictions") for name in opening_of(opened).left_out)
    with pytest.raises(
        ValueError, match=r"have no head for this model .*classifier\.weight.*give the number of classes"
    ):
        open_model(f"hf:{tmp_path / 'trunk'}", weights="pretrained")


def test_old_names_in_a_file(tmp_path: Path) -> None:
    model = bert()
    old = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for key, tensor in model.state_dict().items()
    } | {"bert.embeddings.position_ids": torch.arange(512)[None]}
    for weights in (old, {f"model.{key}": tensor for key, tensor in model.state_dict().items()}):
        found, _ = named_as(bert(), weights)
        fit_weights(bert(), found)
        assert all(torch.equal(found[key], tensor) for key, tensor in model.state_dict().items())
    on_disk = {key.replace("bert.", ""): tensor for key, tensor in model.state_dict().items() if "bert." in key}
    full = transfer(on_disk, bert())
    key = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(full[key], model.state_dict()[key])


def test_a_tied_tensor_that_the_file_has_once(tmp_path: Path) -> None:
    model = llama(tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    opened = open_model(f"hf:{tmp_path}", weights=tmp_path / "model.safetensors")
    assert opened.lm_head.weight is opened.model.embed_tokens.weight
    assert torch.equal(opened.lm_head.weight, model.lm_head.weight)


def test_half_precision_on_disk_is_widened(tmp_path: Path) -> None:
    model = llama().bfloat16()
    model.save_pretrained(tmp_path)
    opened = open_model(f"hf:{tmp_path}", weights="pretrained")
    assert all(tensor.dtype == torch.float32 for tensor in opened.state_dict().values())
    assert torch.equal(opened.lm_head.weight, model.lm_head.weight.float())


def test_sharded_folders(tmp_path: Path) -> None:
    model = llama()
    model.save_pretrained(tmp_path, max_shard_size="2KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    opened = open_model(f"hf:{tmp_path}", weights=tmp_path)
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in opened.state_dict().items())


def test_options_of_the_configuration(tmp_path: Path) -> None:
    bert().save_pretrained(tmp_path)
    assert len(open_model(f"hf:{tmp_path}?num_hidden_layers=1&hidden_act=relu").bert.encoder.layer) == 1


def test_heads_and_what_lies_beside_them() -> None:
    assert head_parts(bert()) == ("classifier",)
    assert head_parts(llama()) == ("lm_head",)
    sizes = {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 12, "vocab_size": 11}
    distil = transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig(**sizes))
    assert head_parts(distil) == ("classifier", "pre_classifier")


def test_folders_and_names_that_do_not_open(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no such folder, and no repository .* Nothing is downloaded here: `hf d"
    ):
        open_model("hf:someone/nothing-of-that-name")
    with pytest.raises(FileNotFoundError, match=r"hf:\.\./a/b/c: there is no such folder"):
        open_model("hf:../a/b/c")
    with pytest.raises(FileNotFoundError, match=r"has no config\.json to build"):
        open_model(f"hf:{tmp_path}")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="it is an adapter, so open its base"):
        open_model(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing-of-that-kind"}))
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        open_model(f"hf:{tmp_path}")
    transformers.T5Config(d_model=8, d_kv=4, num_layers=1, num_heads=2).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clap"}))
    with pytest.raises(ValueError, match="is a clap, which transformers builds neither as an image classifier"):
        open_model(f"hf:{tmp_path}")


def test_code_beside_a_model_is_never_run(tmp_path: Path) -> None:
    said = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
    (tmp_path / "config.json").write_text(json.dumps(said))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ValueError, match=r"wants to run code that lies beside it \(auto_map in its config\.json\)"):
        open_model(f"hf:{tmp_path}")
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_network_and_weights_that_diverged(tmp_path: Path) -> None:
    bert().save_pretrained(tmp_path / "bert")
    llama().save_pretrained(tmp_path / "llama")
    with pytest.raises(ValueError, match=r"not of this model \(BertForSequenceClassification\)"):
        open_model(f"hf:{tmp_path / 'bert'}", weights=tmp_path / "llama")
    broken = load_file(tmp_path / "bert" / "model.safetensors")
    broken["bert.pooler.dense.bias"][2] = float("nan")
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(
        ValueError, match=r"broken\.safetensors: bert\.pooler\.dense\.bias has 1 of 8 numbers that are NaN"
    ):
        open_model(f"hf:{tmp_path / 'bert'}", weights=tmp_path / "broken.safetensors")


def test_another_tasks_head_inside_a_wrapper() -> None:
    wrapped = {f"model.{key}": tensor for key, tensor in llama().state_dict().items()} | {"loss.weight": torch.ones(2)}
    model = llama("LlamaForSequenceClassification", num_labels=3, pad_token_id=0)
    found, left_out = named_as(model, wrapped)
    assert left_out == ("lm_head.weight", "loss.weight")
    assert found.keys() == {key for key in model.state_dict() if key.startswith("model.")}
