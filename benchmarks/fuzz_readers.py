"""Which readers are fuzzed, with what that is sound, and what may come out of them?

A reader is a set of sound files, the one among them that is changed, and a function that reads it. The function may
also fail by itself: where damage has to be found, or what was read has to come back, it says so with an AssertionError.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
import yaml
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from bequest.data.doors import open_source
from bequest.data.pack import open_packed, pack
from bequest.models.files import open_weights, read_weights
from bequest.study.reading import dump, read_study
from bequest.study.step import Step
from bequest.study.store import Store
from bequest.study.visible import one_line

STUDY = {
    "name": "small",
    "model": "resnet8",
    "size": 16,
    "source": {"data": ["emoji:color"], "recipe": {"epochs": 2}},
    "targets": {"line": {"data": "emoji:line", "shots": 5}},
    "arms": {"replicas": 2, "controls": ["meanvar"], "recipe": {"epochs": 3, "augmentation": "crop+flip"}},
    "analyses": {"barrier": {"points": 21}, "mistakes": None},
}
KEYS = ["seed", "given", "std", "mean", "title", "trust_pickle", "left_out"]
HOSTILE = [
    "<script>alert(1)</script>", "../../etc/passwd", "/etc/passwd",
    "a\nb", "x" * 4_000, "\u202eabc", "a\0b", "", " ", "-1",
    "nan", "inf", "1e400",
    "9" * 5_000, "[", "{", "{{7*7}}", "%s%n", "\x1b[31mred", "é", "\u2028", "*a", "&a", "!!python/name:os",
    "\\ud800", '"\\ud800"', '"', "'", ",", "|", "0", "1", "true", "null", "٣", "😀",
]  # fmt: skip
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**40, 2**63, 2**64, -1, 0, 10**400])
SCALARS = st.none() | st.booleans() | NUMBERS | st.sampled_from(HOSTILE) | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(HOSTILE) | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
STEP = Step("measure", 3, {"seed": 1, "runs": ["finetune/0"]}, {}, label="measure")
ROWS = pl.DataFrame({"metric": ["error", "loss"], "value": [0.25, 1.5]})


@dataclass(frozen=True)
class Reader:
    """Something that reads files.

    Attributes:
        files: name to content, sound.
        victim: which of them is changed.
        read: given its path, reads it.
        made: contents to try besides the changed one.
    """

    files: Mapping[str, bytes]
    victim: str
    read: Callable[[Path], object]
    made: st.SearchStrategy[bytes]


def readers() -> dict[str, Reader]:
    """Give every reader by name."""
    images = {f"{label}/{n}.png": _png(10 * n + 100 * (label == "dog")) for label in ("cat", "dog") for n in range(5)}
    images |= {f"train/patient{n}/study1/view1.png": _png(n) for n in range(9)}
    images["valid/patient9/study1/view1.png"] = _png(200)
    listed = [[name, name.split("/")[0], "train" if n % 3 else "test"] for n, name in enumerate(list(images)[:10])]
    found = {
        "study": Reader({"s.yaml": yaml.safe_dump(STUDY).encode()}, "s.yaml", _study, _studies()),
        "csv": _table(images, "list.csv", [["path", "label", "split"], *listed], "csv:{}"),
        "tsv": _table(images, "list.tsv", [["path", "label", "split"], *listed], "csv:{}", between="\t"),
        "csv of labels": _table(
            images, "list.csv", [["path", "a", "b"], *([row[0], "1", "0"] for row in listed)], "csv:{}?labels=a,b"
        ),
        "texts": _table({}, "t.csv", [["text", "label"], *([f"word {n}", "ab"[n % 2]] for n in range(9))], "text:{}"),
        "metadata": _table(images, "metadata.csv", [["file_name", "label"], *([r[0], r[1]] for r in listed)], "hub:{}"),
        "chexpert": _table(images, "train.csv", _chexpert(list(images)[10:19]), "chexpert:{}"),
        "jsonl": Reader(
            images | {"list.jsonl": _lines(json.dumps({"path": r[0], "label": r[1]}) for r in listed)},
            "list.jsonl",
            _opened("csv:{}"),
            st.lists(VALUES.map(_dumped), max_size=4).map(_lines),
        ),
        "domainnet": Reader(
            images
            | {
                f"cat_{side}.txt": _lines(f"./{r[0]} {'cd'.index(r[1][0])}" for r in listed)
                for side in ("train", "test")
            },
            "cat_train.txt",
            _opened("domainnet:{}"),
            st.lists(st.tuples(st.sampled_from([*HOSTILE, "cat/x/0.png"]), st.sampled_from(HOSTILE)), max_size=4).map(
                lambda rows: _lines(" ".join(row) for row in rows)
            ),
        ),
        "tar": Reader({"train-0.tar": _tar(images)}, "train-0.tar", _opened("hub:{}"), st.binary(max_size=600)),
        "classnames": Reader(
            {"train-0.tar": _tar(images), "classnames.txt": b"cat\ndog\n"},
            "classnames.txt",
            _opened("hub:{}"),
            st.binary(max_size=40) | st.sampled_from(HOSTILE).map(_encoded),
        ),
        "parquet": Reader(
            {"train.parquet": _parquet(images)}, "train.parquet", _opened("hub:{}"), st.binary(max_size=99)
        ),
        "readme": Reader(
            {"train.parquet": _parquet(images), "README.md": _readme()},
            "README.md",
            _opened("hub:{}"),
            _yaml_of(VALUES),
        ),
        "image": Reader(dict(list(images.items())[:10]), "cat/1.png", _opened("folder:{}"), st.binary(max_size=99)),
    }
    packs = _packs(images)
    found |= {
        "pack index.json": Reader(packs, "index.json", _packed, VALUES.map(_json)),
        "pack pixels.npy": Reader(packs, "pixels.npy", _packed, st.binary(max_size=99)),
    }
    found |= _weights()
    stored = _stored()
    for name in stored:
        made = VALUES.map(_json) if name.endswith(".json") else st.binary(max_size=99)
        found[f"store {name.split('/')[-1]}"] = Reader(stored, name, _store(name), made)
    return found


def _study(path: Path) -> object:
    study = read_study(path)
    again = path.with_name("again.yaml")
    again.write_text(dump(study), encoding="utf-8")
    assert read_study(again) == study, "a study does not come back from its own dump"
    return study


def _opened(door: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        kind = door.partition(":")[0]
        place = path if kind in ("csv", "text") else path.parent if path.parent.name != "cat" else path.parent.parent
        place = place / "cat" if kind == "domainnet" else place
        source = open_source(door.format(place))
        for record in source.records:
            one_line(record.name).encode()
            if record.draw is not None:
                assert record.draw(6).shape == (6, 6, 3)
        return [*source.classes, *(record.name for record in source.records)]

    return read


def _packed(path: Path) -> object:
    packed = open_packed(path.parent)
    assert len(packed.pixels) == len(packed.targets) == len(packed.names)
    return packed.pixels.sum()


def _weight(path: Path) -> object:
    place, base = path.parent if path.name.startswith("adapter") else path, path.parent / "base.safetensors"
    found = read_weights(place, base=base)
    assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())
    opened = open_weights(place, base=base)
    return sum(part.numel() for name in opened for part in opened.pieces(name, 7))


def _store(name: str) -> Callable[[Path], object]:
    sound = _stored()[name]

    def read(path: Path) -> object:
        store = Store(path.parents[2])
        if damage := store.damage(STEP):
            raise ValueError(damage)
        found = store.open(STEP)
        assert found.rows().equals(ROWS) and found.json("run") == {"best_epoch": 2}, "a wrong number was read"
        assert name.endswith("manifest.json") or path.read_bytes() == sound, "damage was not found"
        return found

    return read


def _studies() -> st.SearchStrategy[bytes]:
    @st.composite
    def one(draw: st.DrawFn) -> bytes:
        content = json.loads(json.dumps(STUDY))
        for _ in range(draw(st.integers(1, 3))):
            inner, keys = content, []
            while isinstance(inner, dict) and inner and draw(st.integers(0, 3)):
                keys.append(draw(st.sampled_from(sorted(inner))))
                inner = inner[keys[-1]]
            place = content
            for key in keys[:-1]:
                place = place[key]
            if keys:
                place[keys[-1]] = draw(VALUES)
            elif isinstance(content, dict):
                content[draw(st.sampled_from([*HOSTILE, *KEYS]))] = draw(VALUES)
        return yaml.safe_dump(content).encode()

    return one()


def _yaml_of(values: st.SearchStrategy[object]) -> st.SearchStrategy[bytes]:
    return values.map(_front)


def _front(kind: object) -> bytes:
    described = {"dataset_info": {"features": [{"name": "label", "dtype": kind}]}}
    return b"---\n" + yaml.safe_dump(described).encode() + b"---\nhello"


def _table(files: Mapping[str, bytes], name: str, rows: list[list[str]], door: str, *, between: str = ",") -> Reader:
    cells = st.sampled_from([*HOSTILE, *(cell for row in rows for cell in row)])
    made = st.lists(st.lists(cells, max_size=len(rows[0]) + 1), max_size=5)
    extra = {"valid.csv": _rows([rows[0], [rows[1][0].replace("train/patient0", "valid/patient9"), *rows[1][1:]]], ",")}
    files = files | (extra if name == "train.csv" else {})
    sound = {**files, name: _rows(rows, between)}
    return Reader(sound, name, _opened(door), made.map(lambda more: _rows([rows[0], *rows[1:], *more], between)))


def _rows(rows: list[list[str]], between: str) -> bytes:
    file = io.StringIO()
    csv.writer(file, delimiter=between).writerows(rows)
    return _encoded(file.getvalue())


def _chexpert(names: list[str]) -> list[list[str]]:
    tasks = ["Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion"]
    rows = [[f"CheXpert/{name}", "Frontal", "1.0", "", "-1.0", "0.0", "1.0"] for name in names]
    return [["Path", "Frontal/Lateral", *tasks], *rows]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _lines(lines: object) -> bytes:
    return _encoded("".join(f"{line}\n" for line in lines))  # type: ignore[attr-defined] # any iterable of text


def _dumped(value: object) -> str:
    return json.dumps(value, default=str)


def _json(value: object) -> bytes:
    return _dumped(value).encode()


def _png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((6, 6, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


def _tar(images: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for n, (name, content) in enumerate(list(images.items())[:10]):
            label = str("cd".index(name[0])).encode()
            for ending, data in (("png", content), ("cls", label), ("json", b'{"label": "x"}')):
                info = tarfile.TarInfo(f"é{'long' * 30 if n == 3 else ''}{n}.{ending}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _parquet(images: Mapping[str, bytes]) -> bytes:
    rows = [
        {"image": {"bytes": data, "path": name}, "label": "cd".index(name[0])}
        for name, data in list(images.items())[:10]
    ]
    file = io.BytesIO()
    pl.DataFrame(rows).write_parquet(file)
    return file.getvalue()


def _readme() -> bytes:
    return _front({"class_label": {"names": {"0": "cat", "1": "dog"}}})


def _packs(images: Mapping[str, bytes]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as place:
        for name, content in list(images.items())[:10]:
            (Path(place) / name).parent.mkdir(exist_ok=True, parents=True)
            (Path(place) / name).write_bytes(content)
        pack(open_source(f"folder:{place}"), Path(place) / "packed", size=8, workers=1)
        return {name: (Path(place) / "packed" / name).read_bytes() for name in ("index.json", "pixels.npy")}


def _weights() -> dict[str, Reader]:
    stream = torch.Generator().manual_seed(0)
    weights = {
        "conv.weight": torch.randn(2, 3, generator=stream),
        "fc.bias": torch.ones(2).bfloat16(),
        "n": torch.tensor(3),
    }
    plain, zipped, old = save(weights), io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": weights}, zipped)
    torch.save(weights, old, _use_new_zipfile_serialization=False)
    kinds = st.sampled_from(["F32", "BF16", "I64", "X", ""]) | VALUES
    shapes, ends = st.lists(NUMBERS, max_size=3) | VALUES, st.lists(st.integers(0, 40) | NUMBERS, max_size=2)
    said = st.fixed_dictionaries({"dtype": kinds, "shape": shapes, "data_offsets": ends}) | VALUES
    header = st.dictionaries(st.sampled_from(["w", "__metadata__", *HOSTILE[:6]]), said, max_size=3).map(_json)
    made = st.tuples(header, st.binary(max_size=40)).map(
        lambda both: len(both[0]).to_bytes(8, "little") + both[0] + both[1]
    )
    index = json.dumps({"weight_map": dict.fromkeys(weights, "a.safetensors")}).encode()
    adapter = {"layer.lora_A.weight": torch.ones(1, 3), "layer.lora_B.weight": torch.ones(2, 1)}
    adapter = {f"base_model.model.{name}": tensor for name, tensor in adapter.items()}
    config = json.dumps({"peft_type": "LORA", "lora_alpha": 2, "base_model_name_or_path": "base.safetensors"}).encode()
    lora = {"base.safetensors": save({"layer.weight": torch.ones(2, 3)}), "adapter_model.safetensors": save(adapter)}
    places = st.dictionaries(st.sampled_from(list(weights)), st.sampled_from(HOSTILE) | VALUES)
    mapping = st.fixed_dictionaries({"weight_map": places})
    pattern = st.dictionaries(st.sampled_from(["layer", "(", "l.*"]), VALUES, max_size=2) | VALUES
    said = {"peft_type": st.just("LORA"), "lora_alpha": VALUES, "alpha_pattern": pattern, "use_rslora": VALUES}
    configs = st.fixed_dictionaries(said)
    return {
        "safetensors": Reader({"a.safetensors": plain}, "a.safetensors", _weight, made),
        "pt": Reader({"a.pt": zipped.getvalue()}, "a.pt", _weight, st.binary(max_size=99)),
        "bin of before 1.6": Reader({"a.bin": old.getvalue()}, "a.bin", _weight, st.binary(max_size=99)),
        "shards": Reader(
            {"a.safetensors": plain, "m.index.json": index}, "m.index.json", _weight, (mapping | VALUES).map(_json)
        ),
        "adapter": Reader(
            {**lora, "adapter_config.json": config}, "adapter_config.json", _weight, (configs | VALUES).map(_json)
        ),
    }


def _stored() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place))
        ROWS.write_parquet(store.scratch(STEP) / "rows.parquet")
        (store.scratch(STEP) / "run.json").write_text(json.dumps({"best_epoch": 2}))
        folder = store.publish(STEP, {"seconds": 1.0, "inputs_that_failed": []}).folder
        return {f"steps/{folder.name}/{file.name}": file.read_bytes() for file in sorted(folder.iterdir())}
