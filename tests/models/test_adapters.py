import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bequest.models.adapters import is_adapter, read_adapter
from bequest.models.files import open_weights, read_weights
from bequest.models.from_transformers import load_transformers
from bequest.models.opening import open_model
from bequest.models.record import opening_of

transformers = load_transformers()
import peft  # noqa: E402 - only after torchvision was made to import

IDS = {"input_ids": torch.tensor([[3, 4, 5, 6], [7, 8, 9, 1]])}


def llama(**more: object) -> nn.Module:
    sizes = {"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, intermediate_size=12, **more)).eval()


def gpt2() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"vocab_size": 11, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 8}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=1, eos_token_id=2)).eval()


def resnet() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
    return transformers.ResNetForImageClassification(transformers.ResNetConfig(**sizes)).eval()


def adapted(model: nn.Module, folder: Path, **options: object) -> dict[str, torch.Tensor]:
    """Put an adapter on a model, move it away from its start, save both, and give what PEFT itself merges."""
    model.save_pretrained(folder / "base")
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**options))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in wrapped.named_parameters():
        if parameter.requires_grad and "magnitude" not in name:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    wrapped.peft_config["default"].base_model_name_or_path = str(folder / "base")
    wrapped.save_pretrained(folder / "adapter")
    return {name: tensor.clone() for name, tensor in wrapped.merge_and_unload().state_dict().items()}


CASES = {
    "plain": (llama, {"r": 2, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj", "down_proj"]}),
    "rslora": (llama, {"r": 4, "use_rslora": True, "target_modules": "all-linear"}),
    "dora": (llama, {"r": 2, "use_dora": True, "target_modules": ["q_proj", "up_proj"]}),
    "patterns": (
        llama,
        {
            "r": 2,
            "target_modules": ["q_proj", "v_proj"],
            "rank_pattern": {"layers.0.self_attn.q_proj": 3},
            "alpha_pattern": {"v_proj": 20, r"layers\.1.*q_proj": 5},
        },
    ),
    "embedding": (llama, {"r": 2, "target_modules": ["embed_tokens", "k_proj"]}),
    "whole layers": (llama, {"r": 2, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    "biases": (lambda: llama(attention_bias=True), {"r": 2, "target_modules": ["q_proj"], "bias": "lora_only"}),
    "turned": (gpt2, {"r": 2, "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "turned dora": (gpt2, {"r": 2, "target_modules": ["c_attn"], "fan_in_fan_out": True, "use_dora": True}),
    "convolutions": (resnet, {"r": 2, "target_modules": ["convolution"]}),
}


@pytest.mark.filterwarnings("ignore")  # PEFT's own
@pytest.mark.parametrize("case", CASES)
def test_what_peft_merges_is_what_we_merge(tmp_path: Path, case: str) -> None:
    make, options = CASES[case]
    merged = adapted(make(), tmp_path, **options)
    base, ours = read_weights(tmp_path / "base"), read_weights(tmp_path / "adapter")
    assert ours.keys() == base.keys()
    changed = [name for name in base if base[name].shape != ours[name].shape or not torch.equal(base[name], ours[name])]
    assert 2 <= len(changed) < len(base)
    for name in ours:
        torch.testing.assert_close(ours[name], merged[name])
    lazy = open_weights(tmp_path / "adapter", base=tmp_path / "base")
    assert all(torch.equal(lazy[name], ours[name]) for name in ours)
    model = open_model(f"hf:{tmp_path / 'base'}", weights=tmp_path / "adapter")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, merged[name])
    assert opening_of(model).weights == f"{tmp_path / 'base'} with {tmp_path / 'adapter'} merged"


@pytest.mark.filterwarnings("ignore")
def test_a_classifier_with_a_head_of_its_own(tmp_path: Path) -> None:
    sizes = {
        "vocab_size": 11,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 12,
    }
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**sizes, num_labels=3)).eval()
    merged = adapted(
        model, tmp_path, r=2, target_modules=["query"], modules_to_save=["classifier"], task_type="SEQ_CLS"
    )
    opened = open_model(f"hf:{tmp_path / 'base'}", classes=3, weights=tmp_path / "adapter").eval()
    for name, tensor in opened.state_dict().items():
        torch.testing.assert_close(tensor, merged[name])
    assert not opening_of(opened).head_drawn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An adapter on a single layer, written by hand."""
    save_file({"layer.weight": torch.zeros(3, 4), "layer.bias": torch.zeros(3)}, tmp_path / "base.safetensors")
    (tmp_path / "lora").mkdir()
    said = {"peft_type": "LORA", "lora_alpha": 4, "r": 2, "base_model_name_or_path": "../base.safetensors"}
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(said))
    parts = {"A": torch.ones(2, 4), "B": torch.ones(3, 2)}
    named = {f"base_model.model.layer.lora_{part}.weight": tensor for part, tensor in parts.items()}
    save_file(named, tmp_path / "lora" / "adapter_model.safetensors")
    return tmp_path / "lora"


def rewrite(folder: Path, **said: object) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **said}))


def test_by_hand_and_with_a_base_beside_it(folder: Path) -> None:
    assert is_adapter(folder) and not is_adapter(folder.parent)
    merged = read_weights(folder)
    assert (merged["layer.weight"] == 2 * 2).all() and not merged["layer.bias"].any()  # alpha / r = 2, two ones
    assert (read_adapter(folder).merged({"layer.weight": torch.ones(3, 4)})["layer.weight"] == 5).all()


def test_an_adapter_for_another_base(folder: Path) -> None:
    save_file({"other.weight": torch.zeros(3, 4)}, folder.parent / "other.safetensors")
    with pytest.raises(ValueError, match=r"changes 1 tensors that its base does not have \(layer\.weight\)"):
        open_weights(folder, base=folder.parent / "other.safetensors")
    save_file({"layer.weight": torch.zeros(3, 5)}, folder.parent / "other.safetensors")
    with pytest.raises(ValueError, match=r"does not fit its base: layer\.weight: .* does not fit a tensor of \[3, 5\]"):
        read_weights(folder, base=folder.parent / "other.safetensors")


def test_a_base_that_is_not_there(folder: Path) -> None:
    for base in ("someone/nothing-of-that-name", "/no/such/folder", None):
        rewrite(folder, base_model_name_or_path=base)
        with pytest.raises(FileNotFoundError, match="not on this machine; give the path of the base"):
            read_weights(folder)


def test_adapters_that_cannot_be_merged(folder: Path) -> None:
    rewrite(folder, peft_type="IA3")
    with pytest.raises(ValueError, match="of the kind IA3; only LORA can be merged"):
        read_weights(folder)
    rewrite(folder, peft_type="LORA")
    file = folder / "adapter_model.safetensors"
    parts = load_file(file)
    odd = "base_model.model.layer.lora_new_thing"
    save_file({**parts, odd: torch.ones(2)}, file)
    with pytest.raises(ValueError, match="lora_new_thing, which is of no kind of adapter"):
        read_weights(folder)
    save_file({name: tensor for name, tensor in parts.items() if "lora_A" in name}, file)
    with pytest.raises(ValueError, match="layer has only one of its two matrices"):
        read_weights(folder)
    save_file({"x": torch.ones(1)}, file)
    with pytest.raises(ValueError, match="holds no LoRA matrices"):
        read_weights(folder)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"has no adapter_model\.safetensors"):
        read_weights(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match="is not what PEFT writes"):
        read_weights(folder)
