"""How fast are two checkpoints compared without a network, beside reading the same files with `cat` into nothing?

Two checkpoints in shards, 8 GB each (1 GB in all with --quick), shaped like a decoder: `bequest compare A B` as a command of
its own, its start and its report included. Before each run the files are put out of the page cache, as checkpoints
larger than the memory never are in it; a second row has them cached. Peak memory is that of the whole command.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from race import Entry, Row, Timed, absent, alone, peak_memory_of, race

JOB = "weights alone"
LEAST = 0.5  # of the speed of cat
ROOM = 20 * 10**9  # bytes that have to be free
SIDE, WIDTH = 4096, 11008  # of a decoder with 7 billion parameters
ALLOWED = 500  # MB beside the two largest tensors


def measure(quick: bool) -> list[Row]:
    what = f"2 checkpoints in shards, {1 if quick else 16} GB in all"
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < ROOM:
            error = OSError(f"{folder} has less than {ROOM / 1e9:.0f} GB free; set BENCH_FOLDER to a larger disk")
            return [absent(JOB, what, "cat", error, f"at least {LEAST:g}")]
        largest = write(folder, (1 if quick else 16) * 10**9)
        files = sorted(str(path) for path in folder.glob("*/*.safetensors"))
        command = [sys.executable, "-m", "bequest", "compare", str(folder / "a"), str(folder / "b")]
        command += ["--folder", str(folder / "out")]

        def ours(cold: bool) -> None:
            forget(files, cold)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

        def cat(cold: bool) -> None:
            forget(files, cold)
            subprocess.run(["cat", *files], check=True, stdout=subprocess.DEVNULL)

        rows = []
        for cold, words in ((True, "from the disk"), (False, "from the page cache")):
            entries = [Entry("ours", lambda c=cold: ours(c)), Entry("cat", lambda c=cold: cat(c))]
            timed = race(entries, rounds=1 if quick else 3, warm=0 if cold else 1)
            rows.append(beside_cat(f"{what}, {words}", timed["ours"], timed["cat"]))
        rows.append(memory(what, command, largest))
        return rows


def write(folder: Path, total: int) -> int:
    """Write checkpoints a and b in shards of about 1 GB; gives the bytes of their largest tensor."""
    import torch

    from bequest.models.files import write_weights

    stream = torch.Generator().manual_seed(0)
    layer = {"self_attn.q_proj": (SIDE, SIDE), "self_attn.o_proj": (SIDE, SIDE), "mlp.up_proj": (WIDTH, SIDE)}
    each = sum(4 * rows * columns for rows, columns in layer.values())
    layers = max(1, round(total / 2 / each))
    where: dict[str, str] = {}
    for checkpoint in "ab":
        (folder / checkpoint).mkdir()
    for number in range(layers):
        shard = f"model-{number:05d}.safetensors"
        a = {
            f"model.layers.{number}.{name}.weight": torch.randn(*shape, generator=stream)
            for name, shape in layer.items()
        }
        write_weights(a, folder / "a" / shard)
        for tensor in a.values():
            tensor[::2].mul_(1.01)
        write_weights(a, folder / "b" / shard)
        where |= dict.fromkeys(a, shard)
    for checkpoint in "ab":
        (folder / checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return 4 * WIDTH * SIDE


def forget(files: list[str], cold: bool) -> None:
    """Put files out of the page cache."""
    for path in files if cold else ():
        with Path(path).open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def beside_cat(what: str, ours: Timed, cat: Timed) -> Row:
    failed = "; ".join(filter(None, (ours.failure, cat.failure)))
    ratio = None if failed else cat.median / ours.median
    times = [None if one.failure else one.median for one in (ours, cat)]
    target, met = f"at least {LEAST:g}", None if ratio is None else ratio >= LEAST
    return Row(JOB, what, times[0], "cat", times[1], ratio, target, met, note=failed)


def memory(what: str, command: list[str], largest: int) -> Row:
    peak = peak_memory_of(command) * 2**20 / 1e6
    allowed = 2 * largest / 1e6 + ALLOWED
    note = f"peak memory {peak:.0f} MB; two largest tensors and {ALLOWED} MB are {allowed:.0f} MB"
    return Row(f"{JOB}, memory", what, None, "allowed", None, peak / allowed, "at most 1", peak <= allowed, note=note)


if __name__ == "__main__":
    alone(measure)
