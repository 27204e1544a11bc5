"""Models of other libraries go through what runs models: inputs by keyword, outputs with .logits, any blocks."""

from pathlib import Path

import pytest
import torch
from torch import nn

from bequest.evaluation.activations import activations
from bequest.evaluation.applied import applied
from bequest.evaluation.predict import measure, predict
from bequest.evaluation.replay import Replay
from bequest.models.from_transformers import load_transformers
from bequest.models.opening import open_model
from bequest.models.order import modules

transformers = load_transformers()
SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
GENERATOR = torch.Generator().manual_seed(0)
IDS = torch.randint(3, 11, (6, 5), generator=GENERATOR)
TEXT = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
IMAGES = torch.randn(6, 3, 32, 32, generator=GENERATOR)
CLASSES = torch.tensor([0, 1, 2, 0, 1, 2])


def saved(folder: Path, kind: str) -> str:
    """Save a small model from its configuration, and give its name."""
    config, head, more = {
        "bert": ("BertConfig", "BertForSequenceClassification", {"vocab_size": 11}),
        "llama": ("LlamaConfig", "LlamaForCausalLM", {"vocab_size": 11}),
        "qwen": ("Qwen2Config", "Qwen2ForCausalLM", {"vocab_size": 11, "num_key_value_heads": 1}),
        "vit": ("ViTConfig", "ViTForImageClassification", {"image_size": 32, "patch_size": 8}),
    }[kind]
    getattr(transformers, head)(getattr(transformers, config)(**SIZES, **more)).save_pretrained(folder)
    return f"hf:{folder}"


CASES = ["bert", "llama", "qwen", "vit", "timm:vit_tiny_patch16_224?img_size=32&depth=2", "timm:resnet10t"]


@pytest.mark.parametrize("case", CASES)
def test_predict_activations_and_replay(tmp_path: Path, case: str) -> None:
    name = case if ":" in case else saved(tmp_path, case)
    language = case in ("llama", "qwen")
    model = open_model(name, classes=None if language else 3).eval()
    inputs = TEXT if case in ("bert", "llama", "qwen") else IMAGES
    batches = [(inputs, IDS if language else CLASSES)]
    with torch.no_grad():
        raw = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    logits = raw if isinstance(raw, torch.Tensor) else raw.logits
    torch.testing.assert_close(predict(model, batches).outputs, logits)
    if not language:
        loss, error = measure(model, batches)
        assert loss == pytest.approx(nn.functional.cross_entropy(logits, CLASSES).item(), rel=1e-5)
        assert error == pytest.approx((logits.argmax(1) != CLASSES).double().mean().item())

    units = modules(model, inputs)
    kept = next(iter(activations(model, [unit.name for unit in units], batches)))
    assert list(kept) == [unit.name for unit in units]
    assert all(output.shape[0] == 6 and output.isfinite().all() for output in kept.values())
    torch.testing.assert_close(kept[units[-1].name], logits)

    with applied(model):
        replay = Replay(model, units, batches)
        assert replay.whole == ()
        assert list(replay.shares.values()) == sorted(replay.shares.values(), reverse=True)
        assert replay.shares[units[-1].name] < 0.2
        for unit in units:
            (start,) = replay.prefixes()
            with torch.no_grad():
                again = replay.run(replay.advance(start, unit.name))
            torch.testing.assert_close(again if isinstance(again, torch.Tensor) else again.logits, logits)
