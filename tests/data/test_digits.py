import numpy as np
from sklearn.datasets import load_digits

from bequest.data.digits import open_digits, open_fonts


def test_digits_are_those_of_scikit_learn_black_on_white() -> None:
    source, truth = open_digits(), load_digits()
    assert [record.target for record in source.records] == truth.target.tolist()
    for index in (0, 500, 1796):
        image = source.records[index].draw(8)
        assert np.abs(image[..., 0] - (255 - truth.images[index] * 255 / 16)).max() <= 1
        assert source.records[index].draw(28).shape == (28, 28, 3)


def test_fonts_split_by_file_and_jitter_by_name() -> None:
    source = open_fonts()
    sides = {(record.group, record.split) for record in source.records}
    assert len(sides) == len({record.group for record in source.records}) >= 15
    first, second = source.records[0], source.records[1]
    assert np.array_equal(first.draw(32), open_fonts().records[0].draw(32))
    assert not np.array_equal(first.draw(32), second.draw(32))


def test_every_font_has_ten_different_digits_inside_the_canvas() -> None:
    seen: dict[str, set[bytes]] = {}
    for record in open_fonts().records:
        if record.name.endswith("-0"):
            image = record.draw(32)
            assert image.min() < 64
            assert min(image[0].min(), image[-1].min()) > 128
            seen.setdefault(record.group, set()).add(image.tobytes())
    assert {len(images) for images in seen.values()} == {10}
