import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from bequest.data import decode as room
from bequest.data.decode import Reduction, draw_bytes, draw_file


def content(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_files_and_bytes_are_drawn_alike(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png := content(Image.fromarray(noise(9, 13, 3)), "PNG"))
    assert np.array_equal(draw_file(tmp_path / "x.png", 5), draw_bytes(png, "x", 5))


@pytest.mark.parametrize(
    ("bytes_", "why"),
    [
        (b"", "the file is empty"),
        (b"not an image", "cannot identify image file it"),
        (content(Image.fromarray(noise(40, 40, 3)), "PNG")[:900], "truncated|broken"),
        (content(Image.fromarray(noise(40, 40, 3)), "JPEG")[:900], "truncated"),
        (content(Image.fromarray(noise(40, 40, 3)), "GIF")[:900], "truncated"),
    ],
    ids=["empty", "text", "png", "jpeg", "gif"],
)
def test_damaged_content_is_named(bytes_: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=rf"shelf/x cannot be read as an image: .*({why}).*; replace or remove it"):
        draw_bytes(bytes_, "shelf/x", 8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP"])
def test_whatever_is_damaged_is_an_image_or_one_kind_of_error(kind: str) -> None:
    good = content(Image.fromarray(noise(16, 16, 3)), kind)
    stream = np.random.default_rng(1)
    outcomes = set()
    for _ in range(60):
        bad = bytearray(good)
        for place in stream.integers(0, len(bad), 4):
            bad[place] = stream.integers(0, 256)
        try:
            assert draw_bytes(bytes(bad[: stream.integers(1, len(bad) + 1)]), "x", 8).shape == (8, 8, 3)
            outcomes.add("drawn")
        except ValueError as error:
            assert str(error).startswith("x ") and "0x" not in str(error)
            outcomes.add("refused")
    assert "refused" in outcomes


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("side", [8_001, 10_000, 20_000, 2**31 - 1])
def test_bombs_are_refused_without_decoding(side: int) -> None:
    with pytest.raises(ValueError, match=r"^b (has [\d,]+ pixels, more than 64,000,000|cannot be read as an image)"):
        draw_bytes(bomb(side, side), "b", 8)


def test_a_limit_holds_for_the_first_picture_of_an_animation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_PIXELS", 99)
    frames = [Image.new("RGB", (10, 10), shade) for shade in ("red", "blue")]
    with pytest.raises(ValueError, match="100 pixels, more than 99"):
        draw_bytes(content(frames[0], "GIF", save_all=True, append_images=frames[1:]), "x", 8)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_picture_is_drawn(kind: str) -> None:
    if kind == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    frames = [Image.new("RGB", (8, 8), shade) for shade in ((250, 10, 10), (10, 10, 250))]
    drawn = draw_bytes(content(frames[0], kind, save_all=True, append_images=frames[1:]), "x", 8)
    assert np.abs(drawn.astype(int) - (250, 10, 10)).max() <= 12


def test_a_jpeg_with_several_pictures_is_drawn() -> None:
    frames = [Image.new("RGB", (16, 16), (200, 30, 30)), Image.new("RGB", (16, 16), (0, 0, 0))]
    drawn = draw_bytes(content(frames[0], "MPO", save_all=True, append_images=frames[1:]), "x", 8)
    assert np.abs(drawn.astype(int) - (200, 30, 30)).max() <= 6


def test_sixteen_bits_are_scaled_and_floats_are_named() -> None:
    ramp = (np.arange(64, dtype=np.uint16) * 1040).reshape(8, 8)
    for kind in ("PNG", "TIFF"):
        assert np.abs(draw_bytes(content(Image.fromarray(ramp), kind), "x", 8)[..., 0] - ramp // 257.0).max() <= 1
    deep = Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    with pytest.raises(ValueError, match="x has floating-point pixels of unknown range; save it with 8 or 16 bits"):
        draw_bytes(content(deep, "TIFF"), "x", 8)


def test_inks_and_palettes_become_their_colours() -> None:
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    assert np.abs(draw_bytes(content(red.convert("CMYK"), "JPEG"), "x", 8).astype(int) - (255, 0, 0)).max() <= 6
    palette = red.quantize(4)
    palette.info["transparency"] = palette.getpixel((0, 0))
    assert (draw_bytes(content(palette, "PNG", transparency=palette.getpixel((0, 0))), "x", 8) == 255).all()
    assert np.array_equal(draw_bytes(content(red.quantize(4), "PNG"), "x", 8)[0, 0], (255, 0, 0))


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_every_orientation_is_followed(turn: int, kind: str) -> None:
    upright = np.full((16, 16, 3), 255, np.uint8)
    upright[:8, :8] = 0  # dark at the top left, as it should be seen
    upright[8:, :8] = 128
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[turn]
    image = Image.fromarray(np.ascontiguousarray(stored))
    exif = image.getexif()
    exif[274] = turn
    drawn = draw_bytes(content(image, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {})), "x", 16)
    assert np.abs(drawn.astype(int) - upright).mean() < 4


def test_padding_keeps_the_whole_image_at_the_top_left() -> None:
    tall = content(Image.new("RGB", (10, 20), (9, 9, 9)), "PNG")
    drawn = draw_bytes(tall, "x", 8, fit="pad")
    assert (drawn[:, :4] == 9).all() and (drawn[:, 4:] == 128).all()
    assert (draw_bytes(tall, "x", 8) == 9).all()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_filter_and_crop_are_those_of_published_weights(tmp_path, interpolation):
    """As timm and torchvision do it: the shorter side to size / crop, then the middle square."""
    stream = np.random.default_rng(0)
    smooth = Image.fromarray(stream.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize(
        (300, 200), Image.Resampling.BICUBIC
    )
    smooth.save(tmp_path / "one.png")
    size, crop = 70, 0.875
    whole = smooth.resize((120, 80), Image.Resampling[interpolation.upper()])
    twin = np.asarray(whole.crop((25, 5, 95, 75))).astype(int)
    drawn = draw_file(tmp_path / "one.png", size, reduction=Reduction(interpolation, crop)).astype(int)
    assert abs(drawn - twin).max() <= (24 if interpolation == "nearest" else 2)  # whole pixels against parts of them
    assert abs(draw_file(tmp_path / "one.png", size).astype(int) - twin).max() > 30  # the plain way shows more
    padded = [draw_file(tmp_path / "one.png", size, fit="pad", reduction=Reduction(crop=one)) for one in (0.5, 1.0)]
    assert (padded[0] == padded[1]).all()
