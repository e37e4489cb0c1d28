"""Pictures whose levels have other ranges than 0 to 255, and pictures that are too large."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from bench.data.decode import images, limits
from bench.data.decode.images import read_image
from bench.errors import UnreadableMedia
from tests.media import paint

CASES = Path(__file__).parents[1] / "fixtures" / "cases" / "image"


def grey(path: Path) -> np.ndarray:
    """One channel of a picture that is grey, `[H, W]`."""
    pixels = read_image(path)[0]
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def test_whole_numbers_of_32_bits_up_to_255_are_the_picture() -> None:
    stored = np.asarray(Image.open(CASES / "int32_8bit.tif"))
    assert stored.dtype == np.int32 and stored.max() == 235
    np.testing.assert_array_equal(grey(CASES / "int32_8bit.tif"), stored)


def test_floats_from_0_to_1_are_scaled() -> None:
    stored = np.asarray(Image.open(CASES / "float01.tif"))
    assert stored.dtype == np.float32 and 0 < stored.min() < stored.max() < 1
    np.testing.assert_array_equal(grey(CASES / "float01.tif"), (stored * 255 + 0.5).astype(int))
    # The same picture as whole numbers is among the cases.
    np.testing.assert_array_equal(grey(CASES / "float01.tif"), grey(CASES / "int32_8bit.tif"))


def test_other_floats_are_refused_by_name(tmp_path: Path) -> None:
    reason = (
        r"float255\.tif cannot be decoded: its floats reach from 20 to 235, and 0 to 1 are read"
    )
    with pytest.raises(UnreadableMedia, match=f"{reason}; save it with 8 bits"):
        read_image(CASES / "float255.tif")
    picture = np.full((4, 5), 0.5, dtype=np.float32)
    for value, words in ((np.nan, "nan"), (np.inf, "inf"), (-0.1, "-0.1"), (1.001, "1.001")):
        picture[2, 3] = value
        Image.fromarray(picture).save(tmp_path / "odd.tif")
        with pytest.raises(UnreadableMedia, match=rf"odd\.tif .* floats reach .*{words}"):
            read_image(tmp_path / "odd.tif")


@pytest.mark.parametrize(
    ("low", "high", "shift"), [(0, 1, 0), (0, 255, 0), (0, 256, 8), (300, 4095, 8), (0, 65535, 8)]
)
def test_range_of_32_bit_numbers_decides_between_8_and_16_bits(
    tmp_path: Path, low: int, high: int, shift: int
) -> None:
    values = np.linspace(low, high, 30).round().astype(np.int32).reshape(5, 6)
    Image.fromarray(values).save(tmp_path / "v.tif")
    np.testing.assert_array_equal(grey(tmp_path / "v.tif"), values >> shift)


@pytest.mark.parametrize(("low", "high"), [(-1, 200), (0, 65536), (-(2**31), 2**31 - 1)])
def test_whole_numbers_beyond_16_bits_are_refused_by_name(
    tmp_path: Path, low: int, high: int
) -> None:
    Image.fromarray(np.array([[low, high]], dtype=np.int32)).save(tmp_path / "v.tif")
    reason = f"v.tif cannot be decoded: its whole numbers reach from {low:,} to {high:,}"
    with pytest.raises(UnreadableMedia, match=reason):
        read_image(tmp_path / "v.tif")


def tiff(path: Path, rows: bytes, size: tuple[int, int], bits: int, sign: int, order: str) -> Path:
    """A grey TIFF with one strip: `sign` 1 is unsigned, 2 signed, 3 float; `order` < or >."""
    width, height = size
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(rows)), (339, 3, sign)]
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value))
        for tag, kind, value in tags
    )
    start = b"II*\0" if order == "<" else b"MM\0*"
    head = start + struct.pack(f"{order}I", 8 + len(rows))
    path.write_bytes(head + rows + struct.pack(f"{order}H", len(tags)) + entries + bytes(4))
    return path


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_levels_are_read_in_either_byte_order(tmp_path: Path, order: str) -> None:
    values = np.arange(30, dtype=np.int64).reshape(5, 6) * 2184 + 100
    data = values.astype(f"{order}u2").tobytes()
    path = tiff(tmp_path / "v.tif", data, (6, 5), 16, 1, order)
    np.testing.assert_array_equal(grey(path), values >> 8)


@pytest.mark.parametrize("order", ["<", ">"])
def test_32_bit_levels_are_read_in_either_byte_order(tmp_path: Path, order: str) -> None:
    values = np.arange(30).reshape(5, 6) * 8
    for kind, sign, dtype in (("whole", 1, "u4"), ("signed", 2, "i4")):
        data = values.astype(f"{order}{dtype}").tobytes()
        try:
            path = tiff(tmp_path / f"{kind}.tif", data, (6, 5), 32, sign, order)
            np.testing.assert_array_equal(grey(path), values)
        except UnreadableMedia as error:  # what Pillow does not know is refused
            assert "cannot identify" in str(error)
    data = (values / 255).astype(f"{order}f4").tobytes()
    path = tiff(tmp_path / "float.tif", data, (6, 5), 32, 3, order)
    np.testing.assert_array_equal(grey(path), values)


def test_12_bit_levels_keep_the_upper_8_of_12_bits(tmp_path: Path) -> None:
    values = np.arange(30).reshape(5, 6) * 141
    packed = "".join(f"{value:012b}" for value in values.reshape(-1).tolist())
    rows = int(packed, 2).to_bytes(len(packed) // 8, "big")
    path = tiff(tmp_path / "v.tif", rows, (6, 5), 12, 1, "<")
    np.testing.assert_array_equal(grey(path), values >> 4)


def test_12_bits_in_16_are_16_bits_as_the_file_declares() -> None:
    stored = np.asarray(Image.open(CASES / "gray12in16.png")).astype(int)
    assert 255 < stored.max() < 4096
    np.testing.assert_array_equal(grey(CASES / "gray12in16.png"), stored >> 8)


def test_16_bit_pgm_keeps_the_upper_8_bits_though_it_is_dark(tmp_path: Path) -> None:
    values = np.arange(30).reshape(5, 6) * 8
    path = tmp_path / "v.pgm"
    path.write_bytes(b"P5 6 5 65535\n" + values.astype(">u2").tobytes())
    np.testing.assert_array_equal(grey(path), np.zeros((5, 6)))
    path.write_bytes(b"P5 6 5 65535\n" + (values * 257).astype(">u2").tobytes())
    np.testing.assert_array_equal(grey(path), values)


@pytest.mark.parametrize("name", ["a.ppm", "jfif.jfif", "a.avif"])
def test_other_extensions_are_read_by_their_content(name: str) -> None:
    if name.endswith("avif") and not features.check("avif"):
        pytest.skip("this build of Pillow has no AVIF")
    pixels = read_image(CASES / name)[0].astype(int)
    expected = read_image(CASES / "a.ppm")[0].astype(int)
    assert pixels.shape == (96, 160, 3)
    assert np.abs(pixels - expected).mean() < (0.1 if name == "a.ppm" else 8)


@pytest.mark.parametrize("suffix", [".pgm", ".pbm", ".jp2", ".ppm", ".webp", ".bmp"])
def test_formats_that_pillow_reads_are_read(tmp_path: Path, suffix: str) -> None:
    picture = Image.fromarray(paint(1234))
    if suffix in (".pgm", ".pbm"):
        picture = picture.convert("L" if suffix == ".pgm" else "1")
    if suffix == ".jp2" and not features.check("jpg_2000"):
        pytest.skip("this build of Pillow has no JPEG 2000")
    picture.save(tmp_path / f"v{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / f"v{suffix}")[0], expected)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_with_more_pixels_than_the_limit_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        ends = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + ends

    for side in (20_000, 13_400):  # Pillow itself refuses the first, and warns of the second
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        png = (
            b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        )
        (tmp_path / "bomb.png").write_bytes(png)
        with pytest.raises(UnreadableMedia, match=r"bomb\.png .*178,956,970.*; scale it down"):
            read_image(tmp_path / "bomb.png")
    Image.fromarray(paint(3)).save(tmp_path / "v.png")
    monkeypatch.setattr(limits, "LARGEST_PICTURE", 96 * 64)
    assert read_image(tmp_path / "v.png").shape == (1, 64, 96, 3)
    monkeypatch.setattr(limits, "LARGEST_PICTURE", 96 * 64 - 1)
    with pytest.raises(UnreadableMedia, match=r"it has 96 x 64 pixels, and at most 6,143 are read"):
        read_image(tmp_path / "v.png")
    assert (
        2 * (Image.MAX_IMAGE_PIXELS or 0) == images.LARGEST_PICTURE
    )  # of which it suspects a bomb


def test_pages_and_frames_after_the_first_are_not_read(tmp_path: Path) -> None:
    first, second = (Image.fromarray(paint(number)) for number in (5, 6))
    for suffix in (".tif", ".png", ".webp"):
        lossless = {"lossless": True} if suffix == ".webp" else {}
        first.save(tmp_path / f"v{suffix}", save_all=True, append_images=[second], **lossless)
        np.testing.assert_array_equal(read_image(tmp_path / f"v{suffix}")[0], paint(5))
