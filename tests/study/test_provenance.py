"""Each result says with what it was made."""

import importlib.metadata

from bequest.study.provenance import provenance


def test_provenance_names_versions_device_seconds_and_memory():
    made = provenance("cpu", 1.23456)
    assert made["packages"]["torch"] == importlib.metadata.version("torch")
    assert (made["device"], made["seconds"]) == ("cpu", 1.235)
    assert made["peak_memory_mib"] > 10
    assert made["dirty"] in (True, False, None)
    assert made["commit"] is None or len(made["commit"]) == 40
