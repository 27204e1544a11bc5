"""How is a data set in a layout of Hugging Face `datasets` read, without that library and without a network?

Three layouts are known by their files: shards of Parquet with the bytes of the images, shards of WebDataset (`.tar`),
and image folders, with or without `metadata.csv` or `metadata.jsonl`. A NAME is looked up in the cache that
`hf download --repo-type dataset NAME` fills. Nothing is downloaded, and no script of a data set is run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bequest.data.assemble import Example, assemble
from bequest.data.decode import Fit
from bequest.data.folder import open_folder
from bequest.data.inside import check_inside, check_present, inside
from bequest.data.listed import LABELS, list_examples
from bequest.data.source import Source, Split
from bequest.data.table import SIDES, in_order, read_table, single_labels

METADATA = ("metadata.csv", "metadata.jsonl")
NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def open_hub(
    place: Path,
    *,
    config: str | None = None,
    image: str | None = None,
    label: str | None = None,
    fit: Fit = "crop",
) -> Source:
    """Open a data set of images in a layout of the hub.

    Args:
        place: a folder, or a name as "org/name" that is in the cache.
        config: folder below it, for a data set with several configurations.
        image: column of the images, in Parquet; None takes the only one.
        label: column, or field of a WebDataset, with the class; None looks for label, class, target, category.
        fit: see `draw_file`.

    Returns:
        The source; sides of the split follow from the names of files and folders, and what is missing is cut by hash.

    Raises:
        FileNotFoundError: if the folder is missing and the name is not in the cache.
        ValueError: if the layout is not known, there are several configurations, an option does not fit
            it, or a file cannot be read.
    """
    root, bound = _find(place)
    root = inside(root, config, f"config={config}", bound=bound) if config else root
    if not root.is_dir():
        raise FileNotFoundError(f"{place} has no folder {config}; config is a folder below it")
    name, shown = f"hub:{place.name}", f"Images from the data set {place.name}"
    shards = _files(root, bound, ".parquet")
    if shards:
        # here, for polars would slow down the start of everything else
        from bequest.data.parquet import open_parquet

        _check_one_configuration(root, shards)
        given = [side_of(root, shard) for shard in shards]
        return open_parquet(
            root, shards, given, name=name, attribution=shown, image=image, label=label, fit=fit, bound=bound
        )
    if image:
        raise ValueError(f"{root} holds no Parquet; leave image={image} out")
    shards = _files(root, bound, ".tar")
    if shards:
        from bequest.data.shards import open_shards

        given = [side_of(root, shard) for shard in shards]
        return open_shards(root, shards, given, name=name, attribution=shown, label=label, fit=fit, bound=bound)
    if _files(root, bound, ".arrow"):
        raise ValueError(f"{root} was written by save_to_disk; write it with to_parquet instead")
    if list(root.rglob("*.tar.gz")):
        raise ValueError(f"{root} holds compressed shards, which cannot be read in part; unpack them to .tar")
    tables = [path for each in METADATA for path in _files(root, bound, each)]
    if tables:
        return _open_tables(root, bound, tables, name=name, attribution=shown, label=label, fit=fit)
    if label:
        raise ValueError(f"{root} has neither shards nor metadata; leave label={label} out")
    return replace(open_folder(root, bound, fit=fit), name=name, attribution=shown)


def side_of(root: Path, path: Path) -> Split | None:
    """Read the side of the split out of a path: the last word that names one, the file's own name before folders.

    Args:
        root: words above it do not count.
        path: as root/data/train-00000-of-00002.parquet.

    Returns:
        The side, or None.
    """
    for part in reversed(path.relative_to(root).parts):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in SIDES:
                return SIDES[word]
    return None


def _find(place: Path) -> tuple[Path, Path]:
    # Files of the cache are links to its folder of blobs, so links may go as far as that.
    if place.is_dir():
        return place, place
    name = place.as_posix()
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    stored = cache / f"datasets--{name.replace('/', '--')}"
    if not NAME.fullmatch(name) or ".." in name or not (stored / "snapshots").is_dir():
        raise FileNotFoundError(
            f"hub:{name} is no folder and not in the cache {cache}; nothing is downloaded here: "
            f"fetch it first, with `hf download --repo-type dataset {name}`"
        )
    main = stored / "refs" / "main"
    snapshots = sorted(entry for entry in (stored / "snapshots").iterdir() if entry.is_dir())
    if main.is_file():
        snapshots = [entry for entry in snapshots if entry.name == main.read_text(encoding="utf-8").strip()]
    if len(snapshots) != 1:
        raise ValueError(f"{stored} holds {len(snapshots)} snapshots and no word which is main; write hub:DIR of one")
    return snapshots[0], stored


def _files(root: Path, bound: Path, ending: str) -> list[Path]:
    found = sorted(
        path
        for path in root.rglob(f"*{ending}")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    for path in found:
        check_inside(bound, path, str(root))
    return found


def _check_one_configuration(root: Path, shards: Sequence[Path]) -> None:
    folders = {shard.relative_to(root).parts[0] for shard in shards if len(shard.relative_to(root).parts) > 1}
    several = sorted(name for name in folders if name.lower() not in SIDES and name != "data")
    if len(several) > 1:
        raise ValueError(f"{root} has several configurations; say config=NAME with one of: {', '.join(several)}")


def _open_tables(
    root: Path, bound: Path, paths: Iterable[Path], *, name: str, attribution: str, label: str | None, fit: Fit
) -> Source:
    # Each folder may have its own metadata; their classes are put together by name.
    found: list[tuple[Path, Example]] = []
    files: list[Path] = []
    words: list[str] = []
    for path in paths:
        table = read_table(path)
        names, targets = single_labels(table, table.column(label, LABELS, "label"))
        words += [names[target] for target in targets if isinstance(target, int)]
        found += list_examples(table, root, targets, [None] * len(targets), fit=fit, bound=bound)
        files.append(path)
    check_present((path for path, _ in found), f"the metadata of {root}")
    classes = in_order(set(words))
    place = {word: index for index, word in enumerate(classes)}
    # By the folders alone: an image may be called test_tube.jpg.
    examples = [
        replace(one, target=place[word], split=side_of(root, path.parent))
        for (path, one), word in zip(found, words, strict=True)
    ]
    files += [path for path, _ in found]
    return assemble(name, classes, examples, where=str(root), attribution=attribution, files=files, recipe=fit)
