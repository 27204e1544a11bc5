"""What do the images of an epoch cost: 2,000 JPEGs of 400 px, read at 224 px in batches of 64?

The twin decodes and resizes each image with PIL in every epoch, in a DataLoader with two workers, as most training
scripts do; its workers are kept between epochs. It is raced with our filter (Lanczos: the pixels are then the same) and
with the cheaper bilinear one that torchvision takes. Ours packs the images once and reads batches from the memory map.
First epoch: packing and one walk over the batches against one walk of the twin. Later epochs: one walk against one.
Both give float32, normalised. Files are in the page cache for both.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from race import Entry, Row, alone, faster, race
from torch.utils.data import DataLoader, Dataset

from bequest.data.batches import batches
from bequest.data.folder import open_folder
from bequest.data.pack import pack

SIDE, SIZE, BATCH = 400, 224, 64
FILTERS = {"Lanczos": Image.Resampling.LANCZOS, "bilinear": Image.Resampling.BILINEAR}
NORMALISE = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def measure(quick: bool) -> list[Row]:
    count = 200 if quick else 2000
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        draw(images, count)
        loaders = {name: twin(images, resample) for name, resample in FILTERS.items()}
        packed = pack(open_folder(images), Path(folder) / "packed", size=SIZE)

        def first() -> int:
            shutil.rmtree(Path(folder) / "again", ignore_errors=True)
            return walk(ours(pack(open_folder(images), Path(folder) / "again", size=SIZE)))

        entries = [
            *(Entry(name, lambda loader=loader: walk(loader)) for name, loader in loaders.items()),
            Entry("first", first),
            Entry("later", lambda: walk(ours(packed))),
        ]
        timed = race(entries, rounds=1 if quick else 2)
        off = difference(loaders["Lanczos"], packed)
    what = f"{count:,} JPEGs of {SIDE} px to {SIZE}"
    rows = []
    for name in loaders:
        peer = f"PIL, {name}, 2-worker DataLoader"
        note = f"pixels differ from the twin's by {off:.1e} of 255 on average" if name == "Lanczos" else ""
        rows += [
            faster("reading images, first epoch", what, timed["first"], peer, timed[name], least=1, note=note),
            faster("reading images, later epochs", what, timed["later"], peer, timed[name], least=10),
        ]
    return rows


def draw(folder: Path, count: int) -> None:
    """Write smooth pictures with some noise, which fill about as many bytes as photographs."""
    generator = np.random.default_rng(0)
    for index in range(count):
        coarse = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = (smooth + generator.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.uint8)
        path = folder / f"class{index % 10}" / f"{index:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(path, quality=90)


class Decoded(Dataset):
    """Images that are decoded and resized whenever they are asked for."""

    def __init__(self, folder: Path, resample: Image.Resampling) -> None:
        self.resample = resample
        self.paths = sorted(folder.glob("*/*.jpg"))
        self.mean, self.std = (torch.tensor(part).view(3, 1, 1) for part in NORMALISE)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as image:
            small = np.array(image.convert("RGB").resize((SIZE, SIZE), self.resample))
        return (torch.from_numpy(small).permute(2, 0, 1).float() / 255 - self.mean) / self.std


def twin(folder: Path, resample: Image.Resampling) -> DataLoader:
    return DataLoader(Decoded(folder, resample), batch_size=BATCH, num_workers=2, persistent_workers=True)


def ours(packed, order: torch.Tensor | None = None):
    order = torch.arange(len(packed.names)) if order is None else order
    return batches(packed, order, batch_size=BATCH, normalise=NORMALISE)


def walk(loader) -> int:
    return sum(len(one[0] if isinstance(one, (tuple, list)) else one) for one in loader)


def difference(loader, packed) -> float:
    """Mean difference of the first batch's pixels, of 255."""
    order = torch.tensor(np.argsort(packed.names)[:BATCH].copy())
    mine = next(iter(ours(packed, order)))[0]
    return float((mine - next(iter(loader))).abs().mean()) * float(np.mean(NORMALISE[1])) * 255


if __name__ == "__main__":
    alone(measure)
