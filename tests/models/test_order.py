from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bequest.models.opening import BUILT_IN, open_model
from bequest.models.order import modules

IMAGE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


def names(model: nn.Module, example: Tensor) -> list[str]:
    return [module.name for module in modules(model, example)]


def stages(*depths: int) -> list[str]:
    return [f"layer{i + 1}.{j}" for i, depth in enumerate(depths) for j in range(depth)]


@pytest.mark.parametrize(
    ("ending", "depths"), [("resnet8", (1, 1, 1)), ("resnet18", (2, 2, 2, 2)), ("resnet50", (3, 4, 6, 3))]
)
@pytest.mark.parametrize("kind", ["", "fixup_"])
def test_built_in_networks(kind: str, ending: str, depths: tuple[int, ...]) -> None:
    assert names(open_model(kind + ending, classes=2), IMAGE) == ["conv1", *stages(*depths), "fc"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_tensor_belongs_to_one_module(name: str) -> None:
    model = open_model(name, classes=2)
    found = modules(model, IMAGE)
    parameters = [key for module in found for key in module.parameters]
    buffers = [key for module in found for key in module.buffers]
    assert sorted(parameters) == sorted(key for key, _ in model.named_parameters())
    assert sorted(buffers) == sorted(key for key, _ in model.named_buffers())


def test_norms_and_bare_parameters_join_the_unit_before_them() -> None:
    plain = modules(open_model("resnet8", classes=2), IMAGE)
    assert plain[0].parameters == ("conv1.weight", "bn1.weight", "bn1.bias")
    assert plain[0].buffers == ("bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked")
    fixup = modules(open_model("fixup_resnet8", classes=2), IMAGE)
    assert set(fixup[0].parameters) == {"conv1.weight", "bias1"}
    assert "bias2" in fixup[-2].parameters and set(fixup[-1].parameters) == {"fc.weight", "fc.bias"}


class Transformer(nn.Module):
    """Shaped as a ViT: bare token and positions, blocks, a norm at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 2)  # registered first, run last
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.pos_embed = nn.Parameter(torch.zeros(1, 6, 8))
        self.unused = nn.Parameter(torch.zeros(3))
        self.norm = nn.LayerNorm(8)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, dropout=0.5) for _ in range(2)
        )
        self.embed = nn.Linear(8, 8)
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("passing", torch.zeros(8), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x - self.mean - self.passing)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])  # type: ignore[no-any-return]


def test_a_vision_transformer() -> None:
    model = Transformer()
    found = {module.name: module for module in modules(model, TOKENS)}
    assert list(found) == ["embed", "blocks.0", "blocks.1", "head"]
    assert set(found["embed"].parameters) == {"embed.weight", "embed.bias", "cls_token", "pos_embed", "unused"}
    assert found["embed"].buffers == ("mean",)  # what is no part of the weights belongs to no module
    assert {"norm.weight", "blocks.1.self_attn.in_proj_weight"} <= set(found["blocks.1"].parameters)
    every = [key for module in found.values() for key in (*module.parameters, *module.buffers)]
    assert sorted(every) == sorted(model.state_dict())


def test_a_plain_sequential_gives_its_leaves() -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    assert names(model, TOKENS) == ["0", "2"]


def test_a_wrapper_around_one_network_is_opened() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second, self.first = nn.Linear(4, 2), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))  # type: ignore[no-any-return]

    assert names(Small(), TOKENS) == ["first", "second"]
    assert names(nn.Sequential(nn.Sequential(Small())), TOKENS) == ["0.0.first", "0.0.second"]
    assert names(nn.Sequential(Small(), nn.Linear(2, 2)), TOKENS) == ["0", "1"]


def test_a_convolution_with_its_norm_does_not_make_a_list_of_blocks() -> None:
    def conv() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU())

    class Inverted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(conv(), conv(), nn.Conv2d(3, 3, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.conv(x)  # type: ignore[no-any-return]

    model = nn.Sequential(conv(), Inverted(), Inverted())
    found = modules(model, IMAGE)
    assert [module.name for module in found] == ["0.0", "1", "2"]
    assert found[0].parameters == ("0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias")


class Shared(nn.Module):
    """Calls one layer twice, ties the last to the first, never runs another."""

    def __init__(self) -> None:
        super().__init__()
        self.never = nn.Linear(8, 8)
        self.out = nn.Linear(8, 8)
        self.twice = nn.Linear(8, 8)
        self.into = nn.Linear(8, 8)
        self.again = self.twice
        self.out.weight = self.into.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.again(self.twice(self.into(x))))  # type: ignore[no-any-return]


def test_shared_tied_and_unused_modules() -> None:
    found = {module.name: set(module.parameters) for module in modules(Shared(), TOKENS)}
    assert list(found) == ["into", "twice", "out", "never"]
    assert found["into"] == {"into.weight", "into.bias", "out.weight"}
    assert found["twice"] == {"twice.weight", "twice.bias", "again.weight", "again.bias"}
    assert found["out"] == {"out.bias"}


def test_a_layer_that_also_lives_inside_a_block() -> None:
    class Block(nn.Module):
        def __init__(self, inner: nn.Linear) -> None:
            super().__init__()
            self.inner, self.outer = inner, nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.outer(self.inner(x))  # type: ignore[no-any-return]

    layer = nn.Linear(8, 8)
    model = nn.Sequential(Block(layer), nn.Sequential(layer, nn.Linear(8, 2)))
    found = modules(model, TOKENS)
    assert [module.name for module in found] == ["0", "1.1"]
    assert "1.0.weight" in found[0].parameters


def test_a_leaf_that_is_never_called_but_whose_weight_is_used() -> None:
    class Direct(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.direct, self.first = (nn.Linear(8, 8) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            x = nn.functional.linear(self.first(x), self.direct.weight)
            return self.last(x)  # type: ignore[no-any-return]

    assert names(Direct(), TOKENS) == ["first", "direct", "last"]


def test_when_there_is_nothing_to_choose_from() -> None:
    assert names(nn.Linear(8, 2), TOKENS) == [""]
    assert names(nn.LayerNorm(8), TOKENS) == [""]
    assert names(nn.Sequential(nn.LayerNorm(8), nn.LayerNorm(8)), TOKENS) == ["0", "1"]
    assert names(nn.ReLU(), TOKENS) == []


def test_a_norm_that_runs_first_joins_the_first_unit() -> None:
    found = modules(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 2), nn.LayerNorm(2), nn.Linear(2, 2)), TOKENS)
    assert [module.name for module in found] == ["1", "3"]
    assert set(found[0].parameters) == {f"{i}.{key}" for i in range(3) for key in ("weight", "bias")}


def test_keyword_inputs() -> None:
    class Keyed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.out = nn.Embedding(9, 4), nn.Linear(4, 2)

        def forward(self, ids: Tensor, *, scale: Tensor) -> Tensor:
            return self.out(self.embed(ids) * scale)  # type: ignore[no-any-return]

    found = modules(Keyed(), {"ids": torch.tensor([[1, 2]]), "scale": torch.tensor(2.0)})
    assert [module.name for module in found] == ["embed", "out"]


class Restless(nn.Module):
    """Draws, counts in a buffer, replaces another, and fails on request, even in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.frozen = nn.Linear(8, 8), nn.BatchNorm1d(5)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("sum", torch.zeros(1))
        self.fail = False

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.sum = self.sum + 1
        if self.fail:
            raise RuntimeError("no")
        return self.frozen(self.linear(x + torch.rand_like(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("fail", [False, True])
def test_the_model_is_left_alone(fail: bool) -> None:
    model = Restless().train()
    model.frozen.eval()
    model.fail = fail
    held = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    objects = {key: id(tensor) for key, tensor in [*model.named_parameters(), *model.named_buffers()]}
    state = torch.get_rng_state()
    if fail:
        with pytest.raises(RuntimeError, match="no"):
            modules(model, TOKENS)
    else:
        modules(model, TOKENS)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == [True, True, False]
    assert all(torch.equal(tensor, held[key]) for key, tensor in model.state_dict().items())
    assert objects == {key: id(tensor) for key, tensor in [*model.named_parameters(), *model.named_buffers()]}
    hooks: list[Callable[[nn.Module], object]] = [lambda m: m._forward_hooks, lambda m: m._forward_pre_hooks]
    assert not any(hook(module) for module in model.modules() for hook in hooks)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
