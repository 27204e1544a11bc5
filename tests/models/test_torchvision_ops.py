import subprocess
import sys
from pathlib import Path

FAKE = """
import torch

@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, threshold):
    return dets

@torch.library.register_fake("torchvision::qnms")
def qnms(dets, scores, threshold):
    return dets
"""


CODE = """
import sys, torch
from bequest.models.torchvision_ops import ready_torchvision
torch.version.cuda = torch.version.hip = None
matching, mismatched = sys.argv[1:]
sys.path.insert(0, matching)
print(ready_torchvision())
sys.path[0] = mismatched
try:
    import torchvision
except RuntimeError as error:
    print(str(error).replace(" ", "-"))
print(ready_torchvision(), ready_torchvision())
import torchvision
print(ready_torchvision())
"""


def test_one_built_for_cuda_imports_and_it_is_said_in_one_line_once(tmp_path: Path) -> None:
    folders = []
    for version in ("0.99.0+cpu", "0.99.0+cu130"):
        package = tmp_path / version / "torchvision"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(FAKE)
        (package / "version.py").write_text(f"__version__ = '{version}'\n")
        folders.append(str(package.parent))
    ran = subprocess.run([sys.executable, "-c", CODE, *folders], capture_output=True, text=True, check=False)
    said = ["False", "operator-torchvision::nms-does-not-exist", "True", "False", "False"]
    assert ran.stdout.split() == said, ran.stderr  # the second: what happens without
    (line,) = ran.stderr.splitlines()
    assert line.startswith("torchvision 0.99.0+cu130 is built for CUDA and torch ")
