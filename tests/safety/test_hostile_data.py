"""Data sets from strangers: what a list, an archive or a name tries, and what comes of it."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner

from bequest.cli import app
from bequest.data.decode import draw_file
from bequest.data.doors import open_source
from bequest.data.inside import inside
from bequest.data.pack import open_packed, pack

SECRET = Path("/etc/passwd")


def png(shade):
    file = io.BytesIO()
    Image.new("RGB", (6, 6), (shade, 7, 9)).save(file, "PNG")
    return file.getvalue()


def shard(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def numbered(label=lambda n: str(n % 2)):
    return [(f"{n:02}.{kind}", data) for n in range(12) for kind, data in (("cls", label(n).encode()), ("png", png(n)))]


def parquet(path):
    rows = [{"image": {"bytes": png(n), "path": "x"}, "label": n % 2} for n in range(12)]
    pl.DataFrame(rows).write_parquet(path)


@pytest.mark.parametrize("entry", ["a" * 256, "a/" * 2_100 + "b", "half \ud800", "é" * 128])
def test_names_that_no_file_can_have_are_told_with_their_line(tmp_path, entry):
    with pytest.raises(ValueError, match=r"list:3: .* is no path inside of") as caught:
        inside(tmp_path, entry, "list:3")
    assert len(str(caught.value)) < 600


def test_files_beside_the_shards_that_are_links_are_not_read(tmp_path):
    shard(tmp_path / "x.tar", numbered())
    (tmp_path / "classnames.txt").symlink_to(SECRET)
    with pytest.raises(ValueError, match=r"classnames\.txt is a link to /etc/passwd, outside of"):
        open_source(f"hub:{tmp_path}")
    (tmp_path / "classnames.txt").unlink()
    (tmp_path / "classnames.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(ValueError, match=r"classnames\.txt is not text in UTF-8 \(byte 3\)"):
        open_source(f"hub:{tmp_path}")


def test_a_readme_that_is_a_link_or_a_bomb_gives_no_names(tmp_path):
    parquet(tmp_path / "train.parquet")
    readme = tmp_path / "README.md"
    readme.symlink_to(SECRET)
    with pytest.raises(ValueError, match=r"README\.md is a link to /etc/passwd, outside of"):
        open_source(f"hub:{tmp_path}")
    readme.unlink()
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    bomb += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    merged = ["b0: &b0 {x: 1}", *(f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}'] * 9)}]}}" for n in range(1, 12))]
    names = "dataset_info: {features: [{name: label, dtype: {class_label: {names: {0: *a11, 1: *b11}}}}]}"
    for front in ([*bomb, *merged, names], ["[" * 5_000], ["!!python/object/apply:os.getcwd []"]):
        readme.write_text("---\n" + "\n".join(front) + "\n---\n")
        assert open_source(f"hub:{tmp_path}").classes == ("0", "1")
    readme.write_text("---\n" + names.replace("*a11", "[cat]").replace("*b11", "{dog: 1}") + "\n---\n")
    assert open_source(f"hub:{tmp_path}").classes == ("0", "1")
    readme.write_text("---\n" + names.replace("*a11", "cat").replace("*b11", "dog") + "\n---\n")
    assert open_source(f"hub:{tmp_path}").classes == ("cat", "dog")


def test_a_configuration_stays_in_its_folder(tmp_path):
    (tmp_path / "set").mkdir()
    for config in ("..", "../other", "/etc"):
        with pytest.raises(ValueError, match="is no path inside of"):
            open_source(f"hub:{tmp_path / 'set'}?config={config}")


def test_official_lists_that_are_links_are_not_read(tmp_path):
    (tmp_path / "clipart_train.txt").symlink_to(SECRET)
    with pytest.raises(ValueError, match=r"clipart_train\.txt is a link to /etc/passwd"):
        open_source(f"domainnet:{tmp_path}/clipart")
    (tmp_path / "train.csv").symlink_to(SECRET)
    with pytest.raises(ValueError, match=r"train\.csv is a link to /etc/passwd"):
        open_source(f"chexpert:{tmp_path}")


def test_an_archive_that_leads_back_into_itself_has_an_end(tmp_path):
    path = shard(tmp_path / "x.tar", numbered())
    content = bytearray(path.read_bytes())
    content[124:136] = (-1024).to_bytes(12, "big", signed=True)  # the size of the first member
    total = sum(content[:148]) + 8 * 32 + sum(content[156:512])
    content[148:156] = b"%06o\0 " % total
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.tar cannot be read as a \.tar: .*; fetch it again"):
        open_source(f"hub:{tmp_path}")


def test_an_image_of_a_terabyte_in_a_sparse_archive_is_not_read(tmp_path):
    path = tmp_path / "x.tar"
    with path.open("wb") as file:
        member = tarfile.TarInfo("a.png")
        member.size = 2**40
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        file.truncate(2**40 + 2_048)  # takes no room on the disk
    with pytest.raises(ValueError, match=r"x\.tar has an image of 1,099,511,627,776 bytes in a"):
        open_source(f"hub:{tmp_path}")


@pytest.mark.parametrize(
    "word", ["9" * 5_000, "٣", "²", "\ud800".encode("utf-8", "surrogatepass").decode(errors="replace")]
)
def test_labels_that_look_like_numbers(tmp_path, word):
    shard(tmp_path / "x.tar", numbered(lambda n: word if n % 2 else "1"))
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    assert len(open_source(f"hub:{tmp_path}").classes) == 2


def test_numbers_and_characters_that_json_can_write_and_nothing_else_can(tmp_path):
    good = [json.dumps({"text": f"word {n}", "label": "ab"[n % 2]}) for n in range(12)]
    for bad, said in [
        ('{"text": "\\ud800", "label": "a"}', "half of a character"),
        ('{"text": ' + "[" * 20_000, "recursion"),
        ('{"text": ' + "9" * 5_000 + ', "label": "a"}', "digits"),
    ]:
        (tmp_path / "t.jsonl").write_text("\n".join([*good, bad]))
        with pytest.raises(ValueError, match=rf"t\.jsonl:13: .*{said}"):
            open_source(f"text:{tmp_path / 't.jsonl'}")
    (tmp_path / "t.jsonl").write_text("\n".join([*good, '{"text": "\\ud83d\\ude00", "label": "a"}']))
    assert open_source(f"text:{tmp_path / 't.jsonl'}").records[-1].text == "😀"


def test_a_field_that_is_too_long_for_csv_is_named(tmp_path):
    (tmp_path / "train.csv").write_text('"' + "x" * 200_000)
    with pytest.raises(ValueError, match=r"train\.csv:\d+: field larger than field limit"):
        open_source(f"chexpert:{tmp_path}")
    header = "Path,Frontal/Lateral,Cardiomegaly,Edema,Consolidation,Atelectasis,Pleural Effusion\n"
    (tmp_path / "train.csv").write_text(header + "train/" * 20_000 + ",Frontal,,,,,\n")
    with pytest.raises(ValueError, match=r"train\.csv:2: .* is not \.\.\./train/patientNUMBER"):
        open_source(f"chexpert:{tmp_path}")  # at once: the search would take the square of the length


def test_names_that_are_no_text_are_written_with_their_bytes(tmp_path):
    for label in (b"caf\xe9", b"dog"):
        for n in range(6):
            place = os.path.join(os.fsencode(tmp_path / "set"), label)  # noqa: PTH118 - pathlib has no bytes
            os.makedirs(place, exist_ok=True)  # noqa: PTH103
            with open(os.path.join(place, b"\xff%d.png" % n), "wb") as file:  # noqa: PTH118, PTH123
                file.write(png(n + 10 * len(label)))
    source = open_source(f"folder:{tmp_path / 'set'}")
    assert source.classes == ("caf\\udce9", "dog")
    packed = pack(source, tmp_path / "packed", size=6)
    assert "".join([*packed.names, *packed.classes]).encode()
    assert open_packed(tmp_path / "packed").names == packed.names


def test_images_that_are_lines_are_drawn(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for n in range(4):
            Image.fromarray(np.full((1, 3_000), n + 9 * (label == "b"), np.uint8)).save(tmp_path / label / f"{n}.png")
    assert open_source(f"folder:{tmp_path}").records[0].draw(8).shape == (8, 8, 3)
    assert draw_file(tmp_path / "a" / "0.png", 8, fit="pad").shape == (8, 8, 3)


STUDY = "name: s\nmodel: fixup_resnet8\nsize: 16\nsource: {data: ['%s']}\ntargets: {t: {data: digits}}\n"


@pytest.mark.parametrize(
    ("door", "said"),
    [
        ("folder:a\\0b", "no folder can be called 'a\\x00b'"),
        (f"csv:{'x' * 4_000}.csv", ""),
        ("csv:../../../../../../etc/passwd", "passwd"),
        ("folder:/proc/self/fd", ""),
        ("<script>alert(1)</script>", "there is no data called"),
        ("\\e[31mred:x", "there is no data called"),
    ],
)
def test_a_study_file_with_such_a_door_is_refused_in_one_line(tmp_path, door, said):
    (tmp_path / "s.yaml").write_text((STUDY % door).replace("'", '"'))
    ran = CliRunner().invoke(app, ["run", str(tmp_path / "s.yaml"), "--folder", str(tmp_path / "out")])
    assert ran.exit_code == 2, (ran.exception, ran.output)
    assert said in ran.output
    assert len(ran.output.strip().splitlines()) == 1 and "\x1b" not in ran.output and len(ran.output) < 2_200
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "model", ["os:system", "subprocess:run?args=['touch','it-ran']", "builtins:exec", "os.path:join"]
)
def test_a_model_that_is_a_part_of_python_is_not_called(tmp_path, model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(STUDY.replace("fixup_resnet8", json.dumps(model)) % "digits")
    ran = CliRunner().invoke(app, ["run", str(tmp_path / "s.yaml")])
    assert ran.exit_code == 2 and "is a part of Python, and no model" in ran.output
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]
