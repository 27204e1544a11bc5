"""How does a torchvision that was built for CUDA import beside a torch without it?

The registry's torchvision for Linux is built for CUDA. Beside a CPU torch its compiled operators do not load, and
`import torchvision` stops at `operator torchvision::nms does not exist`: two of its decorators ask for operators that
nobody has declared. So do timm and transformers, which import it. Declaring the two (as signatures, without code) lets
it import; models and transforms never call them. Nothing is done where torchvision is absent, matches, or is imported.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import sys
from pathlib import Path

import torch

_kept: list[torch.library.Library] = []  # a declaration lives as long as its library does


def ready_torchvision() -> bool:
    """Make `import torchvision` work beside a CPU torch; call it before timm or transformers is imported.

    Returns:
        Whether something had to be declared. It is said once, in one line of the log.
    """
    if _kept or "torchvision" in sys.modules or torch.version.cuda or torch.version.hip:
        return False
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    version = Path(spec.origin).with_name("version.py")
    built = re.search(r"__version__ = '(.*\+cu\d+)'", version.read_text()) if version.is_file() else None
    if built is None:
        return False
    try:
        library = torch.library.Library("torchvision", "DEF")
    except RuntimeError:  # somebody declared them before us
        return False
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)
    logging.getLogger("bequest").warning(
        "torchvision %s is built for CUDA and torch %s is not: it is used without its compiled operators (models and "
        "transforms need none)",
        built[1],
        torch.__version__,
    )
    return True
