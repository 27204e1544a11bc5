import pytest

from bequest.weights.naming import aligned, unwrapped

NETWORK = ["conv.weight", "blocks.0.a.weight", "blocks.0.a.bias", "blocks.1.a.weight", "blocks.1.a.bias", "fc.weight"]
DECODER = ["model.embed.weight", "model.layers.0.w", "model.layers.1.w", "model.layers.2.w", "lm_head.weight"]


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.", "module.module."]
)
def test_wrappers_are_taken_away(prefix: str) -> None:
    assert unwrapped(prefix + name for name in NETWORK) == {prefix + name: name for name in NETWORK}


def test_a_compiled_part_inside_a_network() -> None:
    assert unwrapped(["a._orig_mod.w", "b.w"]) == {"a._orig_mod.w": "a.w", "b.w": "b.w"}


def test_what_is_no_wrapper_stays() -> None:
    assert unwrapped(["module.a", "other.b"]) == {"module.a": "module.a", "other.b": "other.b"}
    assert unwrapped(DECODER) == {name: name for name in DECODER}
    assert unwrapped(["a._orig_mod.w", "a.w"]) == {"a._orig_mod.w": "a._orig_mod.w", "a.w": "a.w"}
    assert unwrapped([]) == {}


@pytest.mark.parametrize("take", ["", "model.", "net.", "model.net.", "module.student.backbone."])
@pytest.mark.parametrize("put", ["", "bert.", "model."])
def test_any_prefix_is_found(take: str, put: str) -> None:
    wanted = [put + name for name in NETWORK]
    assert aligned([take + name for name in NETWORK], wanted) == {take + n: put + n for n in NETWORK}


def test_a_trunk_goes_below_the_head_of_a_classifier() -> None:
    trunk = [f"layer.{i}.{part}" for i in range(3) for part in ("weight", "bias")]
    wanted = [f"bert.{name}" for name in trunk] + ["classifier.weight", "classifier.bias"]
    assert aligned(trunk, wanted) == {name: f"bert.{name}" for name in trunk}


def test_names_that_fit_stay_and_so_do_names_of_another_network() -> None:
    assert aligned(DECODER, DECODER) == {name: name for name in DECODER}
    wrapped = [f"model.{name}" for name in DECODER] + ["loss.weight"]
    assert aligned(wrapped, DECODER)["model.model.layers.1.w"] == "model.layers.1.w"
    assert aligned(wrapped, DECODER)["loss.weight"] == "loss.weight"
    other = ["stem.w", "stem.b", "body.fc.weight", "body.x", "body.y", "body.z"]
    assert aligned(other, NETWORK) == {name: name for name in other}
