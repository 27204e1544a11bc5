import pytest
import torch
from safetensors.torch import save_file

from bequest.models.opening import open_model
from bequest.study.comparing import comparison
from bequest.study.prepared import prepared
from bequest.study.reading import read_study

NAME = "timm:resnet18?in_chans=3"


def test_a_study_takes_what_it_does_not_say_from_the_published_weights(tmp_path):
    """The numbers of timm 1.0: ImageNet's mean and deviation, bicubic, 95 % of the middle at 224 pixels."""
    save_file(dict(open_model("resnet8", classes=2).state_dict()), tmp_path / "p.safetensors")
    file = tmp_path / "study.yaml"
    text = "name: s\nsource: {weights: p.safetensors}\ntargets: {t: {data: digits}}\n"
    file.write_text(text + f"model: {NAME}\nmean: [0.1, 0.2, 0.3]\n")
    study = read_study(file)
    assert (study.size, study.interpolation, study.crop) == (224, "bicubic", 0.95)
    assert (study.mean, study.std) == ((0.1, 0.2, 0.3), (0.229, 0.224, 0.225))
    assert read_study(file, ["size=32"]).size == 32
    file.write_text(text)
    assert (read_study(file).size, read_study(file).interpolation) == (64, "lanczos")


@pytest.mark.parametrize("name", ["resnet8", "timm:no_such_network", "hf:no/such folder", None, 3])
def test_nothing_is_known_of_other_models(name):
    assert prepared(name) == {}


def test_the_places_of_a_comparison_can_be_opened_from_anywhere(tmp_path, monkeypatch):
    weights = {name: tensor.clone() for name, tensor in open_model("resnet8", classes=2).state_dict().items()}
    for name in ("a", "b"):
        torch.save(weights, tmp_path / f"{name}.pth")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    files = [tmp_path / "a.pth", tmp_path / "b.pth"]
    study = comparison(files, model="resnet8", data="folder:photos?fit=pad", calibration="digits")
    assert study.targets["data"].data == f"folder:{tmp_path.resolve()}/photos?fit=pad"
    assert study.targets["data"].calibration == "digits"
