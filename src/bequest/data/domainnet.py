"""How is a domain of DomainNet read from its official lists?

DIR holds `clipart_train.txt` and `clipart_test.txt`, with lines such as `clipart/zebra/clipart_345_000002.jpg 344`, and
the folder `clipart` (Peng et al. 2019). The lists have no validation; it is cut from train, whole groups of equal files
at a time. The paper draws 50,000 images of train and of test alike with `RandomState(2020)` where a list is longer:
`subsample=50000` draws the same ones. Copies of test files in train are left out; `copies=keep` keeps the paper's set.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from bequest.data.copies import without_copies
from bequest.data.decode import draw_file
from bequest.data.inside import check_inside, check_present, inside
from bequest.data.source import Record, Source, Split, file_digest
from bequest.data.splits import split_groups
from bequest.data.table import LONGEST_NUMBER

SUBSAMPLE_SEED = 2020  # the paper's
ATTRIBUTION = "DomainNet by Peng et al. (2019), for research; see its fair-use notice"
Listed = tuple[str, Path, int, Split]


def open_domainnet(
    place: Path,
    *,
    subsample: int | None = None,
    validation: float = 0.1,
    seed: int | None = None,
    copies: Literal["leave-out", "keep"] = "leave-out",
) -> Source:
    """Open one domain of DomainNet.

    Args:
        place: DIR/DOMAIN, beside the lists DIR/DOMAIN_train.txt and DIR/DOMAIN_test.txt.
        subsample: the most images to take of train and of test; None takes all. 50,000 are the paper's.
        validation: share of the groups of each class that leaves train for validation, 0 to below 1.
        seed: of the choice of validation; None takes the order of the hashes as it is.
        copies: whether train has images whose bytes are in test as well. Kept, the two overlap, as in the paper.

    Returns:
        The source; classes in the order of the lists' numbers.

    Raises:
        FileNotFoundError: if the lists or some images are missing.
        ValueError: if a line cannot be read or leaves DIR, if the classes contradict each other, or an option is out
            of range.
    """
    if not 0 <= validation < 1:
        raise ValueError(f"validation is a share of train, 0 to below 1, not {validation}")
    if subsample is not None and subsample < 1:
        raise ValueError(f"subsample has to be 1 or more images, not {subsample}")
    root, domain = place.parent, place.name
    names: dict[int, str] = {}
    listed: list[Listed] = []
    for split in ("train", "test"):
        part = _read_list(root, domain, split, names)
        listed += [part[index] for index in paper_subsample(len(part), subsample or len(part))]
    check_present((path for _, path, _, _ in listed), f"the lists of {domain}")
    digests = [file_digest(path) for _, path, _, _ in listed]
    if copies == "leave-out":
        stay = without_copies(digests, [split for _, _, _, split in listed], f"{domain} in {root}")
        listed, digests = [listed[index] for index in stay], [digests[index] for index in stay]
    ranks = {number: rank for rank, number in enumerate(sorted(names))}
    targets = [ranks[number] for _, _, number, _ in listed]
    splits = _with_validation(digests, targets, [split for _, _, _, split in listed], validation, seed)
    records = tuple(
        Record(name, digest, target, partial(draw_file, path), split)
        for (name, path, _, _), digest, target, split in zip(listed, digests, targets, splits, strict=True)
    )
    return Source(
        f"domainnet:{domain}",
        tuple(names[number] for number in ranks),
        records,
        ATTRIBUTION,
        files=tuple(path for _, path, _, _ in listed),
    )


def paper_subsample(n: int, size: int) -> list[int]:
    """Draw the paper's subsample.

    Args:
        n: images in the list.
        size: how many to draw, without replacement.

    Returns:
        Indices in the order drawn; all in their own order if there are no more than `size`.
    """
    if n <= size:
        return list(range(n))
    drawn: list[int] = np.random.RandomState(SUBSAMPLE_SEED).choice(n, size=size, replace=False).tolist()
    return drawn


def _read_list(root: Path, domain: str, split: Split, names: dict[int, str]) -> list[Listed]:
    path = root / f"{domain}_{split}.txt"
    if not path.is_file():
        known = sorted(file.name.removesuffix("_train.txt") for file in root.glob("*_train.txt"))
        near = get_close_matches(domain, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        there = f"{hint}There: {', '.join(known)}" if known else "write domainnet:DIR/DOMAIN, DIR holding the lists"
        raise FileNotFoundError(f"the list {path} is missing; {there}")
    check_inside(root, path, str(root))
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        entry, _, label = line.strip().rpartition(" ")
        parts = entry.split("/")
        if not label.isdecimal() or len(label) > LONGEST_NUMBER or len(parts) < 3:
            raise ValueError(f"{where}: {line[:200]!r} is not DOMAIN/CLASS/FILE and a class number")
        found.append((entry, inside(root, entry, where), int(label), split))
        target, shown = int(label), parts[-2]
        if names.setdefault(target, shown) != shown:
            raise ValueError(f"{where}: class {target} is {shown} here and {names[target]} before; mend the list")
    if not found:
        raise ValueError(f"the list {path} is empty")
    return found


def _with_validation(
    groups: list[str], targets: list[int], given: list[Split], share: float, seed: int | None
) -> list[Split]:
    train = [index for index, split in enumerate(given) if split == "train"]
    salt = "" if seed is None else f"{seed}/"
    cut = split_groups(
        [salt + groups[index] for index in train],
        [targets[index] for index in train],
        shares=(1 - share, share, 0.0),
    )
    sides = list(given)
    for index, side in zip(train, cut, strict=True):
        sides[index] = side
    return sides
