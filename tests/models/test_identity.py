import hashlib
import importlib.metadata
from pathlib import Path

import pytest

from bequest.models.identity import identity


def test_names_and_what_they_depend_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert identity("resnet8") == {}
    assert identity("timm:resnet18") == identity("timm:vit?x=1") == {"timm": importlib.metadata.version("timm")}
    assert identity("torchvision:resnet18") == {"torchvision": importlib.metadata.version("torchvision")}
    with pytest.raises(FileNotFoundError, match="has no config"):
        identity(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    before = identity(f"hf:{tmp_path}?x=1")
    assert before["config"] == hashlib.sha256(b"{}").hexdigest() and "transformers" in before
    (tmp_path / "config.json").write_text('{"x": 1}')
    assert identity(f"hf:{tmp_path}")["config"] != before["config"]
    (tmp_path / "own_identity.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert identity("own_identity:make") == {"code": hashlib.sha256(b"x = 1\n").hexdigest()}
    assert identity("no_such_package:make") == {}
