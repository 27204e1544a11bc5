"""What holds for every test: no deadlines on shared machines, the same examples each time, one thread."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded
os.environ.setdefault("BEQUEST_PDFS", "0")  # a fifth of a second a chart, in each of many reports

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("bequest", deadline=None, derandomize=True)
hypothesis.settings.load_profile("bequest")
torch.set_num_threads(1)  # the networks of tests are too small for two, and so are the machines


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package of one file that announces analyses: `install("some_file", source, {"name": "some_file"})`."""
    site = tmp_path / "site-packages"

    def put(module, source, announces, version="1.0"):
        about = site / f"{module}-{version}.dist-info"
        about.mkdir(parents=True)
        package = module.replace("_", "-")
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        lines = [f"{name} = {value}" for name, value in announces.items()]
        (about / "entry_points.txt").write_text("\n".join(["[bequest.analyses]", *lines, ""]))
        (site / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(site)
        monkeypatch.delitem(sys.modules, module, raising=False)
        return site

    before = set(sys.modules)
    yield put
    for name in {path.stem for path in site.glob("*.py")} - before:
        sys.modules.pop(name, None)
