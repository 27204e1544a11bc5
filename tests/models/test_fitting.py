import pytest
import torch

from bequest.models.fitting import fit_weights, transfer
from bequest.models.head import head_is_shared, says_tokens
from bequest.models.opening import open_model
from bequest.models.torchvision_ops import ready_torchvision


def test_own_weights_fit() -> None:
    model = open_model("resnet8", classes=3)
    fit_weights(model, model.state_dict())
    fit_weights(model, {k: t for k, t in model.state_dict().items() if "num_batches_tracked" not in k})


def test_missing_and_unknown_tensors_are_counted_and_named() -> None:
    model = open_model("resnet8", classes=3)
    with pytest.raises(ValueError, match=r"ResNet.*37 missing \(bn1.weight, bn1.bias.*…\); 19 unknown \(bias1, "):
        fit_weights(model, {**open_model("fixup_resnet8", classes=3).state_dict(), "bn1.running_mean": torch.ones(1)})


def test_up_to_three_wrong_shapes_with_both() -> None:
    model = open_model("resnet8", classes=3)
    weights = {
        key: torch.zeros(1, 2) if key.startswith("layer3.0.conv") else t for key, t in model.state_dict().items()
    }
    with pytest.raises(
        ValueError, match=r"2 tensors .*layer3.0.conv1.weight is \[1, 2\], the model has \[96, 48, 3, 3\]"
    ):
        fit_weights(model, weights)


def test_missing_names_come_with_the_first_shapes_that_differ() -> None:
    model = open_model("resnet8", classes=3)
    weights = {key: t for key, t in model.state_dict().items() if key != "bn1.weight"} | {
        "layer3.0.conv1.weight": torch.zeros(1, 2)
    }
    said = r"1 missing \(bn1.weight\); 1 of another shape \(layer3.0.conv1.weight is \[1, 2\], the model has \[96, 48"
    with pytest.raises(ValueError, match=said) as raised:
        fit_weights(model, weights)
    assert "unknown" not in str(raised.value)


def test_only_the_head_differs() -> None:
    model, other = open_model("resnet8", classes=3), open_model("resnet8", classes=5)
    with pytest.raises(ValueError, match=r"fc.weight is \[5, 96\], the model has \[3, 96\].*Only the head differs"):
        fit_weights(model, other.state_dict())
    fit_weights(model, other.state_dict(), except_head=True)
    fit_weights(model, {k: t for k, t in other.state_dict().items() if not k.startswith("fc.")}, except_head=True)


def test_transfer_takes_everything_but_the_head() -> None:
    pretrained = {
        k: t.bfloat16() if t.is_floating_point() else t + 7
        for k, t in open_model("resnet8", seed=1).state_dict().items()
    }
    model = open_model("resnet8", classes=3, seed=2)
    own = model.state_dict()
    full = transfer(pretrained, model)
    assert list(full) == list(own)
    for name, tensor in full.items():
        source = own if name.startswith("fc.") else pretrained
        assert torch.equal(tensor, source[name].to(tensor))
        assert tensor.dtype == own[name].dtype
        assert tensor.data_ptr() not in (own[name].data_ptr(), pretrained[name].data_ptr())
    model.load_state_dict(full)


def test_transfer_refuses_another_network() -> None:
    with pytest.raises(ValueError, match="not of this model"):
        transfer(open_model("fixup_resnet8").state_dict(), open_model("resnet8", classes=3))


@pytest.mark.parametrize("tied", [True, False])
def test_the_head_of_a_model_of_language_comes_along(tied: bool) -> None:
    ready_torchvision()
    import transformers

    config = transformers.GPT2Config(vocab_size=7, n_positions=4, n_embd=4, n_layer=1, n_head=1)
    config.tie_word_embeddings = tied
    with torch.random.fork_rng(devices=[]):
        pretrained, fresh = transformers.GPT2LMHeadModel(config), transformers.GPT2LMHeadModel(config)
    assert says_tokens(fresh)
    assert head_is_shared(fresh) == tied
    weights = {name: tensor.clone() for name, tensor in pretrained.state_dict().items()}
    full = transfer(weights, fresh)
    assert all(torch.equal(full[name], weights[name]) for name in weights)
    if not tied:  # a trunk without a head: what is missing is fresh
        del weights["lm_head.weight"]
        full = transfer(weights, fresh)
        assert torch.equal(full["lm_head.weight"], fresh.lm_head.weight)
        assert torch.equal(full["transformer.wte.weight"], weights["transformer.wte.weight"])
    assert not says_tokens(open_model("resnet8")) and not head_is_shared(open_model("resnet8"))
