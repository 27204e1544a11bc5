"""Names and shapes give the modules that people name, in the order of the numbers."""

import pytest
import torch

from bequest.models.opening import open_model
from bequest.weights.named_modules import named_modules

BLOCK = {"attn.qkv.weight": (6, 2), "attn.proj.weight": (2, 2), "norm1.weight": (2,), "mlp.fc1.weight": (8, 2)}
CASES = {
    "a vision transformer": (
        {f"blocks.{n}.{key}": shape for n in (10, 2, 0) for key, shape in BLOCK.items()}
        | {"patch_embed.proj.weight": (2, 3, 4, 4), "head.weight": (3, 2), "norm.weight": (2,)},
        ["patch_embed", "blocks.0", "blocks.2", "blocks.10", "head", "norm"],
    ),
    "a decoder": (
        {f"model.layers.{n}.self_attn.{p}_proj.weight": (4, 4) for n in (1, 0) for p in "qkv"}
        | {"model.embed_tokens.weight": (9, 4), "model.norm.weight": (4,), "lm_head.weight": (9, 4)},
        ["model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "lm_head"],
    ),
    "stages of blocks": (
        {f"stages.{s}.blocks.{b}.{c}.weight": (2, 2) for s in (0, 1) for b in (0, 1) for c in ("one", "two")},
        ["stages.0.blocks.0", "stages.0.blocks.1", "stages.1.blocks.0", "stages.1.blocks.1"],
    ),
    "a block with a list inside": (
        {f"features.{n}.conv.{part}.weight": (2, 2, 1, 1) for n in (0, 1) for part in (0, 2)},
        ["features.0", "features.1"],
    ),
    "bare parameters": ({"w": (2, 2), "b": (2,)}, ["b", "w"]),
}


@pytest.mark.parametrize("case", CASES)
def test_modules_of(case):
    shapes, expected = CASES[case]
    found = named_modules(shapes)
    assert [module.name for module in found] == expected
    assert sorted(name for module in found for name in module.parameters) == sorted(shapes)


def test_a_built_in_network_and_its_statistics():
    state = open_model("resnet8", classes=3).state_dict()
    found = named_modules({name: tuple(tensor.shape) for name, tensor in state.items()})
    assert [module.name for module in found] == ["conv1", "bn1", "layer1.0", "layer2.0", "layer3.0", "fc"]
    assert sorted(name for one in found for name in (*one.parameters, *one.buffers)) == sorted(state)
    trained = {name for one in found for name in one.parameters}
    assert trained == {name for name, tensor in state.items() if torch.is_tensor(tensor)} - {
        name for name in state if name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")
    }
