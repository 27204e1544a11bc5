"""Does Bequest keep its promises of speed on this machine?

Runs every benchmark in a process of its own, prints one table and writes `results.json`. A benchmark that fails is
reported and the others go on; the exit code is then 1. A target that is missed is a row like any other.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from race import WAITING, Row
from table import markdown, show

HERE = Path(__file__).parent
JOBS = (
    "similarity",
    "criticality",
    "memory",
    "line",
    "plane",
    "block_shuffle",
    "reading",
    "matching",
    "demo_study",
    "paper_study",
    "schedule",
)
PATIENCE = 900  # seconds a benchmark may take; the whole should take less than twenty minutes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(JOBS), help=f"some of {','.join(JOBS)}")
    parser.add_argument("--quick", action="store_true", help="few rounds: for developing, not for figures")
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.add_argument("--markdown", action="store_true", help="print the table of the last results; run nothing")
    options = parser.parse_args()
    if options.markdown:
        known = json.loads(options.results.read_text(encoding="utf-8"))
        print(markdown([Row(**row) for row in known["rows"]], known["machine"]), end="")
        return 0
    jobs = options.only.split(",")
    if unknown := sorted(set(jobs) - set(JOBS)):
        parser.error(f"there is no benchmark {unknown[0]!r}; known: {', '.join(JOBS)}")
    rows: list[Row] = []
    failures: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for job in jobs:
        print(f"{job} …", flush=True)
        start = time.perf_counter()
        try:
            rows += _rows(job, options.quick)
        except RuntimeError as error:
            failures[job] = str(error)
        seconds[job] = round(time.perf_counter() - start, 1)
    show(rows)
    for job, failure in failures.items():
        print(f"\n{job} failed:\n{failure}")
    found = {"machine": machine(), "quick": options.quick, "seconds": seconds, "failures": failures}
    found["rows"] = [vars(row) for row in rows]
    options.results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\n{sum(seconds.values()):.0f} seconds; written to {options.results}")
    return 1 if failures else 0


def machine() -> dict[str, Any]:
    """Say what the figures were measured on."""
    import torch

    model, cores = platform.processor(), os.cpu_count()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "CPU": model,
        "cores": cores,
        "memory": f"{memory:.0f} GiB",
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", WAITING["OMP_WAIT_POLICY"]),
        "date": datetime.date.today().isoformat(),
    }


def _rows(job: str, quick: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "rows.json"
        command = [sys.executable, str(HERE / f"{job}.py"), "--json", str(written), *(["--quick"] if quick else [])]
        try:
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"took more than {PATIENCE} seconds") from None
        if done.returncode or not written.exists():
            said = done.stderr.decode(errors="replace").strip()[-2000:]
            raise RuntimeError(f"exit code {done.returncode}: {said}")
        return [Row(**row) for row in json.loads(written.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    sys.exit(main())
