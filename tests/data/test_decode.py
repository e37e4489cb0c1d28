from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.decode import decode
from bench.data.decode.container import inspect
from bench.data.decode.decode import decoder_versions, read_frames
from bench.data.decode.images import read_image
from bench.data.decode.truncation import missing_bytes
from bench.data.views.clip_frames import frame_indices
from bench.errors import UnreadableMedia, UsageError
from bench.types import ClipPlan
from tests.media import (
    INTRA_REFRESH,
    OPEN_GOP,
    cut_video,
    paint,
    read_number,
    read_numbers,
    truncate,
    write_audio,
    write_video,
)

DECODERS = [
    pytest.param(
        name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")
    )
    for name in ("decord", "torchcodec")
]


def read(path: Path, choose: Callable[..., np.ndarray], decoder: str) -> decode.Frames:
    """`read_frames`, or skip where torchcodec is installed without the FFmpeg that it needs."""
    try:
        return read_frames(path, choose, decoder=decoder)
    except UsageError as error:
        if "does not load" not in str(error):
            raise
        pytest.skip(str(error))


STEPS = np.cumsum(20 + 15 * (np.arange(120) % 3))  # milliseconds between frames: 20, 35, 50

# name: (num_frames, how to write it, what inspect should call unusual)
VIDEOS = {
    "gop12.mp4": (120, {}, ()),
    "gop250.mp4": (120, {"gop": 250}, ()),
    "late.mp4": (60, {"timestamps": range(1000, 3400, 40)}, ()),
    "fragments.mp4": (60, {"muxer_options": {"movflags": "frag_keyframe+empty_moov"}}, ()),
    "h264.mkv": (60, {}, ()),
    "vp9.webm": (60, {"codec": "libvpx-vp9", "fps": 12, "options": {"cpu-used": "8"}}, ()),
    "odd.mp4": (20, {"size": (97, 65), "pix_fmt": "yuv444p"}, ()),
    "vfr.mp4": (120, {"timestamps": STEPS}, ("variable frame rate",)),
    "ten.mp4": (40, {"pix_fmt": "yuv420p10le"}, ("10 bits",)),
    "open.mp4": (120, {"options": OPEN_GOP}, ("open GOP",)),
    "refresh.mp4": (60, {"options": INTRA_REFRESH}, ("open GOP",)),
    "open.mkv": (60, {"options": OPEN_GOP}, ("open GOP",)),
    "h264.ts": (60, {}, ("mpegts", "no frame table")),
    "xvid.avi": (60, {"codec": "mpeg4", "options": {"bf": "2"}}, ("avi", "open GOP")),
    "vp8.webm": (40, {"codec": "libvpx"}, ("vp8", "no frame table")),
    "av1.mp4": (20, {"codec": "libsvtav1", "options": {"preset": "12"}}, ("av1",)),
    "turned90.mp4": (30, {"rotation": 90}, ("a turned picture",)),
    "turned180.mp4": (30, {"rotation": 180}, ("a turned picture",)),
    "turned270.mp4": (30, {"rotation": 270}, ("a turned picture",)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, (num_frames, how, _) in VIDEOS.items():
        write_video(folder / name, num_frames, **how)
    cut_video(folder / "gop12.mp4", folder / "cut12.mp4", 4)
    cut_video(folder / "gop250.mp4", folder / "cut250.mp4", 30)
    write_video(folder / "first.mp4", 120, muxer_options={"movflags": "faststart"})
    return folder


def scattered(num_frames: int, fps: float) -> np.ndarray:
    """Eight overlapping clips of 16 frames, neither sorted nor without repeats."""
    assert fps > 0
    return np.random.default_rng(num_frames).integers(0, num_frames, (8, 16))


def sparse(num_frames: int, fps: float) -> np.ndarray:
    return np.array([[num_frames - 1, num_frames - 2, 3]])


@pytest.mark.parametrize("choose", [scattered, sparse])
@pytest.mark.parametrize("decoder", ["auto", "pyav", *DECODERS])
@pytest.mark.parametrize("name", VIDEOS)
def test_every_decoder_reads_exactly_the_frames_asked_for(
    folder: Path, name: str, decoder: str, choose: Callable[..., np.ndarray]
) -> None:
    num_frames, how, _ = VIDEOS[name]
    frames = read(folder / name, choose, decoder)
    expected = choose(num_frames, 1.0)
    assert frames.num_frames == num_frames
    np.testing.assert_array_equal(read_numbers(frames.pixels)[frames.index], expected)
    assert len(frames.pixels) == len(np.unique(expected))  # each frame once
    width, height = how.get("size", (96, 64))
    assert frames.pixels.shape[1:] == (height, width, 3) and frames.pixels.dtype == np.uint8
    assert frames.rotation == how.get("rotation", 0)


@pytest.mark.parametrize("name", VIDEOS)
def test_container_is_described(folder: Path, name: str) -> None:
    num_frames, how, unusual = VIDEOS[name]
    container = inspect(folder / name)
    assert container.num_frames == num_frames
    assert set(unusual) <= set(container.unusual) and bool(unusual) == bool(container.unusual)
    assert container.picture.rotation == how.get("rotation", 0)
    assert container.pixel_format == how.get("pix_fmt", "yuv420p")
    if name == "vfr.mp4":
        assert container.fps == pytest.approx(1000 / 35, rel=0.02)
    else:
        assert container.fps == how.get("fps", 25)


@pytest.mark.parametrize("decoder", ["auto", "pyav", *DECODERS])
@pytest.mark.parametrize(("name", "first"), [("cut12.mp4", 4), ("cut250.mp4", 30)])
def test_frames_cut_off_by_an_edit_list_are_not_counted(
    folder: Path, name: str, first: int, decoder: str
) -> None:
    container = inspect(folder / name)
    assert "edit list" in container.unusual
    assert container.num_frames == 120 - first
    for choose in (scattered, sparse):
        frames = read(folder / name, choose, decoder)
        numbers = read_numbers(frames.pixels)[frames.index]
        np.testing.assert_array_equal(numbers, choose(120 - first, 25.0) + first)
        assert decoder == "torchcodec" or frames.decoder.startswith("pyav")


@pytest.mark.parametrize("name", ["gop12.mp4", "cut12.mp4", "vfr.mp4", "vp9.webm", "fragments.mp4"])
def test_any_pair_of_frames_is_read_whether_or_not_a_seek_lies_between(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "SEEK_GAP", 3)
    num_frames, first = inspect(folder / name).num_frames, 4 if name == "cut12.mp4" else 0
    rng = np.random.default_rng(0)
    for _ in range(20):
        pair = np.sort(rng.choice(num_frames, (1, 2), replace=False))
        frames = read_frames(folder / name, lambda *_, chosen=pair: chosen, decoder="pyav")
        np.testing.assert_array_equal(read_numbers(frames.pixels)[None], pair + first)


@pytest.mark.skipif(find_spec("decord") is None, reason="decord is not installed")
@pytest.mark.parametrize("name", ["gop12.mp4", "gop250.mp4", "vp9.webm", "odd.mp4"])
def test_decord_and_pyav_give_the_same_bytes(folder: Path, name: str) -> None:
    plan = ClipPlan.parse("8x3@2")
    made = [
        read_frames(folder / name, lambda n, _: frame_indices(plan, n), decoder=decoder)
        for decoder in ("decord", "pyav")
    ]
    assert [frames.decoder for frames in made] == ["decord", "pyav"]
    np.testing.assert_array_equal(made[0].pixels, made[1].pixels)


@pytest.mark.skipif(find_spec("decord") is None, reason="decord is not installed")
def test_the_decoder_that_was_used_is_named(folder: Path) -> None:
    used = {
        name: read_frames(folder / name, sparse, decoder=decoder).decoder
        for name, decoder in [
            ("gop12.mp4", "auto"),
            ("gop250.mp4", "decord"),
            ("cut12.mp4", "decord"),
            ("h264.ts", "decord"),
        ]
    }
    assert used == {
        "gop12.mp4": "pyav",
        "gop250.mp4": "decord",
        "cut12.mp4": "pyav (decord: inexact with edit list)",
        "h264.ts": "pyav (decord: inexact with no frame table)",
    }


@pytest.mark.skipif(find_spec("decord") is None, reason="decord is not installed")
def test_pyav_takes_over_where_decord_fails_and_the_reason_is_kept(folder: Path) -> None:
    frames = read_frames(folder / "av1.mp4", scattered, decoder="decord")
    assert frames.decoder.startswith("pyav (decord: ")
    assert "[" not in frames.decoder and str(folder) not in frames.decoder  # the same in every run
    again = read_frames(folder / "av1.mp4", scattered, decoder="decord")
    assert again.decoder == frames.decoder


def test_frames_before_the_damage_of_a_truncated_mp4_are_read(folder: Path, tmp_path: Path) -> None:
    path = truncate(folder / "first.mp4", tmp_path / "truncated.mp4", 0.7)
    container = inspect(path)
    assert container.num_frames == 120 and "ends early" in container.unusual
    frames = read_frames(path, lambda n, _: np.array([[0, 5, 20]]))
    assert read_numbers(frames.pixels).tolist() == [0, 5, 20]


@pytest.mark.parametrize("decoder", ["auto", "pyav", *DECODERS])
def test_a_needed_frame_that_is_lost_is_an_error_that_names_it(
    folder: Path, tmp_path: Path, decoder: str
) -> None:
    path = truncate(folder / "first.mp4", tmp_path / "truncated.mp4", 0.7)
    with pytest.raises(UnreadableMedia, match=r"truncated\.mp4 .*frame 119 of 120"):
        read(path, lambda n, _: np.array([[0, n - 1]]), decoder)


@pytest.mark.parametrize("name", ["vp9.webm", "xvid.avi", "fragments.mp4", "gop12.mp4"])
def test_a_truncated_file_of_unknown_length_is_an_error(
    folder: Path, tmp_path: Path, name: str
) -> None:
    path = truncate(folder / name, tmp_path / name, 0.6)
    with pytest.raises(UnreadableMedia, match=name):
        inspect(path)
    assert missing_bytes(folder / name) == 0


def test_damaged_data_is_an_error_and_not_another_picture(folder: Path, tmp_path: Path) -> None:
    data = bytearray((folder / "gop250.mp4").read_bytes())
    middle = data.index(b"mdat") + 2000
    data[middle : middle + 60] = bytes(60)
    path = tmp_path / "hole.mp4"
    path.write_bytes(data)
    for decoder in ("auto", "pyav"):
        with pytest.raises(UnreadableMedia, match=r"hole\.mp4 .*frame \d+ of 120"):
            read_frames(path, scattered, decoder=decoder)


def test_files_that_are_no_video_are_errors_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "page.mp4").write_text("<html><body>Not found</body></html>" * 40)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(3000))
    (tmp_path / "folder.mp4").mkdir()
    write_audio(tmp_path / "sound.mp4")
    reasons = {
        "empty.mp4": "the file is empty",
        "page.mp4": "web page",
        "noise.mp4": "FFmpeg",
        "folder.mp4": "it is a directory",
        "sound.mp4": "no video stream",
        "missing.mp4": "no such file",
    }
    for name, reason in reasons.items():
        for attempt in (inspect, lambda path: read_frames(path, sparse)):
            with pytest.raises(UnreadableMedia, match=f"{name} cannot be decoded: .*{reason}"):
                attempt(tmp_path / name)


def test_unknown_decoder_names_the_closest(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown decoder 'decor'\. Did you mean 'decord'"):
        read_frames(folder / "gop12.mp4", sparse, decoder="decor")


def test_a_decoder_that_is_not_installed_says_how_to_install_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "find_spec", lambda name: None)
    for name in ("decord", "torchcodec"):
        with pytest.raises(UsageError, match=f"pip install {name}"):
            read_frames(folder / "gop12.mp4", sparse, decoder=name)
    assert read_frames(folder / "gop12.mp4", sparse).decoder == "pyav"


def test_versions_cover_whatever_may_decode() -> None:
    versions = decoder_versions("auto")
    assert {"rule", "pyav", "libavcodec", "libswscale"} == set(versions)
    assert ("decord" in decoder_versions("decord")) == (find_spec("decord") is not None)
    assert decoder_versions("pyav") == versions  # so that stored features are shared
    with pytest.raises(UsageError):
        decoder_versions("opencv")


# ------------------------------------------------------------------------------------------ stills
def gray16() -> Image.Image:
    return Image.fromarray(paint(1234)[..., 0].astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("rgb.png", Image.fromarray(paint(1234))),
        ("gray.jpg", Image.fromarray(paint(1234)[..., 0])),
        ("cmyk.jpg", Image.fromarray(paint(1234)).convert("CMYK")),
        ("palette.gif", Image.fromarray(paint(1234)).quantize(4)),
        ("alpha.png", Image.fromarray(paint(1234)).convert("RGBA")),
        ("gray16.png", gray16()),
        ("gray16.tif", gray16()),
    ],
)
def test_images_of_every_mode_become_rgb(tmp_path: Path, name: str, picture: Image.Image) -> None:
    picture.save(tmp_path / name)
    pixels = read_image(tmp_path / name)
    assert pixels.shape == (1, 64, 96, 3) and pixels.dtype == np.uint8
    assert read_number(pixels[0]) == 1234
    allowed = 8 if name.endswith("jpg") else 0  # what JPEG changes
    assert np.abs(pixels[0].astype(int) - paint(1234)).mean() <= allowed


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_no_obstacle_and_orientation_is_not_applied(tmp_path: Path) -> None:
    picture, exif = Image.fromarray(paint(77)), Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_number(read_image(tmp_path / "turned.jpg")[0]) == 77
    picture.save(tmp_path / "broken.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f garbage")
    assert read_number(read_image(tmp_path / "broken.jpg")[0]) == 77


@pytest.mark.parametrize("name", ["picture.jpg", "picture.png", "picture.gif"])
def test_a_truncated_image_is_an_error(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    truncate(tmp_path / name, tmp_path / f"cut_{name}", 0.5)
    with pytest.raises(UnreadableMedia, match=f"cut_{name} cannot be decoded"):
        read_image(tmp_path / f"cut_{name}")


def test_files_that_are_no_image_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_text("<html></html>")
    for name in ("empty.jpg", "page.jpg", "missing.jpg", "."):
        with pytest.raises(UnreadableMedia, match="cannot be decoded"):
            read_image(tmp_path / name)
