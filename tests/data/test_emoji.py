import json
import pickle
import time
from itertools import combinations

import numpy as np
import pytest

from bequest.data.emoji import draw_glyph, open_emoji
from bequest.data.emoji_bases import base_code, demo_package, emoji_table, groups_file
from bequest.data.source import Source, content

DOMAINS = ("color", "flat", "line", "mono")


@pytest.fixture(scope="module")
def sources() -> dict[str, Source]:
    plain = {domain: open_emoji(domain) for domain in DOMAINS}
    return plain | {f"{domain}+variants": open_emoji(domain, variants=True) for domain in DOMAINS}


def test_no_base_and_no_united_pair_is_on_two_sides_of_any_domains(sources: dict[str, Source]) -> None:
    table = {one.name: one for one in emoji_table()}
    sides: dict[str, set[str]] = {}
    base_sides: dict[str, set[str]] = {}
    for source in sources.values():
        for record in source.records:
            sides.setdefault(record.group, set()).add(record.split)
            base_sides.setdefault(base_code(table[record.name].code), set()).add(record.split)
    assert sides.keys() == {one.group for one in table.values()}
    assert all(len(side) == 1 for side in [*sides.values(), *base_sides.values()])
    pairs = json.loads(groups_file().read_text())["pairs"]
    assert len(pairs) > 80
    for _, a, b, *_ in pairs:
        assert table[a].group == table[b].group, (a, b)


def test_no_held_out_picture_is_nearly_one_of_train_or_its_mirror_image(sources: dict[str, Source]) -> None:
    for domain in ("color", "line", "mono"):
        records = sources[domain].records
        grey = np.stack([record.draw(32).mean(-1, dtype=np.float32) for record in records])
        train = np.array([record.split == "train" for record in records])
        for mirror in (1, -1):
            for index in np.nonzero(~train)[0]:
                distance = np.abs(grey[train] - grey[index][:, ::mirror]).mean((1, 2))
                nearest = records[np.nonzero(train)[0][distance.argmin()]].name
                assert distance.min() > 4, (domain, records[index].name, nearest, distance.min())


def test_domains_show_the_same_emoji_with_the_same_splits(sources: dict[str, Source]) -> None:
    def rows(name: str) -> set[tuple[str, str, int, str]]:
        return {(record.name, record.group, record.target, record.split) for record in sources[name].records}

    assert rows("color") == rows("line") == rows("mono")
    assert rows("flat") < rows("color")
    assert len(rows("color") - rows("flat")) <= 4  # drawn by lines alone


def test_variants_add_to_train_alone(sources: dict[str, Source]) -> None:
    plain = {(record.name, record.split) for record in sources["line"].records}
    wide = {(record.name, record.split) for record in sources["line+variants"].records}
    assert plain < wide
    assert {split for _, split in wide - plain} == {"train"}
    held_out = [record.group for record in sources["line+variants"].records if record.split != "train"]
    assert len(set(held_out)) == len(held_out)


def test_every_class_has_enough_on_every_side(sources: dict[str, Source]) -> None:
    for source in sources.values():
        for target in range(len(source.classes)):
            count = [
                sum(record.target == target and record.split == split for record in source.records)
                for split in ("train", "validation", "test")
            ]
            assert count[0] >= 12 and count[1] >= 4 and count[2] >= 8, (source.name, source.classes[target], count)


def test_pictures_are_full_whole_and_on_white(sources: dict[str, Source]) -> None:
    for domain in DOMAINS:
        cut = 0
        for record in sources[domain].records:
            image = record.draw(32)
            assert image.shape == (32, 32, 3) and image.dtype == np.uint8
            assert image.min() < (200 if domain != "flat" else 225), (domain, record.name)
            edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
            cut += int((edge < 128).any())
        assert cut <= 5, domain  # a few reach the border as their designers drew them


def test_line_and_mono_have_no_colour_and_flat_has(sources: dict[str, Source]) -> None:
    def colour(domain: str) -> float:
        images = np.stack([record.draw(32) for record in sources[domain].records[::10]]).astype(int)
        return float((images.max(-1) - images.min(-1)).mean())

    assert colour("line") < 0.5 and colour("mono") == 0
    assert colour("flat") > 20 and colour("color") > 20


def test_no_two_groups_have_the_same_picture(sources: dict[str, Source]) -> None:
    for domain in ("color", "line", "mono"):
        seen: dict[bytes, str] = {}
        for record in sources[domain].records:
            pixels = record.draw(24).tobytes()
            assert pixels not in seen, (domain, record.name, seen.get(pixels))
            seen[pixels] = record.name


def test_line_is_what_color_adds_to_flat(sources: dict[str, Source]) -> None:
    names = ["tiger", "apple", "office"]
    pictures = {
        domain: {record.name: record.draw(48) for record in sources[domain].records if record.name in names}
        for domain in ("color", "flat", "line")
    }
    for name in names:
        clear = (pictures["line"][name] == 255).all(-1)
        assert np.array_equal(pictures["color"][name][clear], pictures["flat"][name][clear])
        dark = (pictures["line"][name] == 0).all(-1)
        assert dark.any() and pictures["color"][name][dark].max() <= 1


def test_mono_is_as_large_and_as_central_as_line(sources: dict[str, Source]) -> None:
    def ink(domain: str) -> np.ndarray:
        boxes = []
        for record in sources[domain].records[::7]:
            rows, columns = np.nonzero(record.draw(72).min(-1) < 200)
            boxes.append(
                [np.ptp(rows), np.ptp(columns), (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2]
            )
        return np.mean(boxes, axis=0)

    assert np.abs(ink("line") - ink("mono")).max() < 3  # of 72


def test_a_glyph_that_is_missing_is_named() -> None:
    font = str(demo_package("manimgx_fonts") / "NotoEmoji[wght].ttf")
    with pytest.raises(ValueError, match=r"no glyph for nothing \(10FFFF\)"):
        draw_glyph(font, "nothing", "10FFFF", 32)


def test_content_differs_by_domain_and_is_quick(sources: dict[str, Source]) -> None:
    start = time.perf_counter()
    found = {name: content(source) for name, source in sources.items()}
    assert time.perf_counter() - start < 4
    for a, b in combinations(found, 2):
        assert found[a] != found[b]
    assert content(open_emoji("mono")) == found["mono"]


def test_records_can_be_sent_to_another_process(sources: dict[str, Source]) -> None:
    for domain in ("flat", "mono"):
        record = sources[domain].records[3]
        assert np.array_equal(pickle.loads(pickle.dumps(record)).draw(16), record.draw(16))


def test_attribution_names_maker_and_licence(sources: dict[str, Source]) -> None:
    assert "CC BY-SA 4.0" in sources["line"].attribution and "OpenMoji" in sources["line"].attribution
    assert "Open Font License" in sources["mono"].attribution
