import dataclasses

import pytest

from bequest.weights.modules import Module


def test_a_module_is_a_value() -> None:
    module = Module("layer1.0", ("layer1.0.conv1.weight",))
    assert module.buffers == ()
    assert module == Module("layer1.0", ("layer1.0.conv1.weight",)) and len({module, Module("fc", ())}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        module.name = "fc"  # type: ignore[misc]
