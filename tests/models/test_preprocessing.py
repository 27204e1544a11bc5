import json
from pathlib import Path

import pytest
import torch
from torch import nn

from bequest.models.from_timm import load_timm
from bequest.models.from_torchvision import load_torchvision
from bequest.models.from_transformers import load_transformers
from bequest.models.opening import open_model
from bequest.models.preprocessing import Preprocessing, preprocessing, tokenizer

timm, torchvision, transformers = load_timm(), load_torchvision(), load_transformers()
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = (0.5, 0.5, 0.5)


def photo() -> torch.Tensor:
    """Random colours, 64 x 64, as bytes."""
    return torch.randint(256, (3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def normalised(image: torch.Tensor, prepared: Preprocessing) -> torch.Tensor:
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (prepared.mean, prepared.std))
    return (image / 255 - mean) / std


def test_timm() -> None:
    assert preprocessing("timm:resnet18") == Preprocessing((224, 224), *IMAGENET, "bicubic", 0.95)
    small = Preprocessing((64, 64), HALF, HALF, "bicubic", 0.9)
    name = "timm:vit_tiny_patch16_224?img_size=64&depth=1"
    assert preprocessing(name) == preprocessing(open_model(name, classes=3)) == small
    made = timm.create_model("vit_tiny_patch16_224", depth=1)
    assert preprocessing(made) == Preprocessing((224, 224), HALF, HALF, "bicubic", 0.9)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(made))
    assert tuple(transform.transforms[-1].mean.tolist()) == preprocessing(made).mean


def test_torchvision_agrees_with_its_own_transform() -> None:
    found = preprocessing("torchvision:resnet18")
    assert found == Preprocessing((224, 224), *IMAGENET, "bilinear", 224 / 256)
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms(crop_size=64, resize_size=64)
    torch.testing.assert_close(normalised(photo(), found), transform(photo()))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("ViTImageProcessor", {"size": {"height": 64, "width": 64}, "resample": 3}),
        ("ViTImageProcessor", {"size": {"height": 64, "width": 64}, "do_normalize": False}),
        ("ViTImageProcessor", {"size": {"height": 64, "width": 64}, "rescale_factor": 1 / 127.5}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 64}, "image_mean": [0.1, 0.2, 0.3], "crop_pct": 1.0}),
    ],
)
@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_hugging_face_agrees_with_its_own_processor(tmp_path: Path, kind: str, said: dict[str, object]) -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    transformers.ViTForImageClassification(transformers.ViTConfig(**sizes)).save_pretrained(tmp_path)
    assert preprocessing(f"hf:{tmp_path}") is None
    processor = getattr(transformers, kind)(**said)
    processor.save_pretrained(tmp_path)
    found = preprocessing(f"hf:{tmp_path}")
    assert found is not None and found.size == (64, 64) and found.crop == 1
    assert found.interpolation == {2: "bilinear", 3: "bicubic"}[int(processor.resample)]
    expected = processor(photo(), return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(normalised(photo(), found), expected, atol=1e-5, rtol=1e-5)
    assert preprocessing(open_model(f"hf:{tmp_path}")) == found


def test_hugging_face_sizes_and_crops(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    file = tmp_path / "preprocessor_config.json"
    for said, size, crop in (
        ({"size": 224}, (224, 224), 1.0),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, (224, 224), 224 / 256),
        ({"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": False}, (256, 256), 1.0),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (224, 224), 0.875),
    ):
        file.write_text(json.dumps(said))
        found = preprocessing(f"hf:{tmp_path}")
        assert found is not None and (found.size, found.crop) == (size, pytest.approx(crop))
    file.write_text(json.dumps({"feature_size": 80}))
    assert preprocessing(f"hf:{tmp_path}") is None
    for broken in ("{", "[1]", json.dumps({"size": 3, "image_mean": 4})):
        file.write_text(broken)
        with pytest.raises(ValueError, match=r"preprocessor_config\.json does not say how images are prepared"):
            preprocessing(f"hf:{tmp_path}")


def test_unknown_is_none() -> None:
    assert preprocessing("resnet8") is None and preprocessing(open_model("resnet8")) is None
    assert preprocessing(nn.Linear(1, 1)) is None and preprocessing("package.module:function") is None


def test_a_tokenizer_beside_a_model(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "apple", "##s"]
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=8, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no tokenizer lies in"):
        tokenizer(f"hf:{tmp_path}")
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(tmp_path / "vocab.txt"), model_max_length=6).save_pretrained(tmp_path)
    made = tokenizer(f"hf:{tmp_path}")(["red apples", "Apple", "red " * 9])
    assert made["input_ids"].tolist() == [[2, 5, 6, 7, 3, 0], [2, 6, 3, 0, 0, 0], [2, 5, 5, 5, 5, 3]]
    assert made["attention_mask"].sum(1).tolist() == [5, 3, 6]
    assert tokenizer(f"hf:{tmp_path}", longest=3)(["red apples"])["input_ids"].tolist() == [[2, 5, 3]]
    assert open_model(f"hf:{tmp_path}", classes=2).eval()(**made).logits.shape == (3, 2)
    with pytest.raises(ValueError, match="'resnet8' has no tokenizer"):
        tokenizer("resnet8")
