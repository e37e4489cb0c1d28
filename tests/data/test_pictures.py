"""One rule for all decoders: which stream is read, how it is shown, and that its size stays."""

import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from bench.data.decode import limits
from bench.data.decode.container import inspect
from bench.data.decode.decode import Frames, read_frames
from bench.data.decode.picture_headers import OWN_SIZE, picture_headers
from bench.data.media.media import FrameFolder
from bench.errors import UnreadableMedia
from tests.media import paint, put_matrix, write_video

CASES = Path(__file__).parents[1] / "fixtures" / "cases" / "video"
DECODERS = ["auto", *(name for name in ("decord", "torchcodec") if find_spec(name))]
# (a, b, c, d): a pixel at (x, y) is shown at (a x + c y, b x + d y).
UPRIGHT = (1, 0, 0, 1)
MATRICES = {
    "upright": UPRIGHT,
    "90": (0, 1, -1, 0),
    "180": (-1, 0, 0, -1),
    "270": (0, -1, 1, 0),
    "hflip": (-1, 0, 0, 1),
    "vflip": (1, 0, 0, -1),
    "rot90hflip": (0, 1, 1, 0),
    "rot270hflip": (0, -1, -1, 0),
}


def everything(num_frames: int, fps: float) -> np.ndarray:
    return np.arange(num_frames)[None]


def start(num_frames: int, fps: float) -> np.ndarray:
    return np.array([[0, 1]])


def stored(path: Path, number: int = 0) -> np.ndarray:
    """The frames `[n, H, W, 3]` of video stream `number` as the codec gives them."""
    return np.stack(frames_of(path, number))


def frames_of(path: Path, number: int = 0) -> list[np.ndarray]:
    with av.open(str(path)) as media:
        return [frame.to_ndarray(format="rgb24") for frame in media.decode(video=number)]


def shown(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Move every pixel of `[n, H, W, 3]` to where the matrix puts it."""
    a, b, c, d = matrix
    y, x = np.indices(pixels.shape[1:3])
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    made = np.zeros((len(pixels), down.max() + 1, across.max() + 1, 3), dtype=np.uint8)
    made[:, down, across] = pixels[:, y, x]
    return made


def copied(source: Path, path: Path, change: Callable[[bytes], bytes] = bytes) -> Path:
    """Copy a film to another container, and `change` the bytes of its packets."""
    with av.open(str(source)) as media, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(media.streams.video[0])
        for packet in media.demux(video=0):
            if packet.dts is not None:
                changed = av.Packet(change(bytes(packet)))
                changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
                changed.time_base, changed.is_keyframe = packet.time_base, packet.is_keyframe
                changed.stream = stream
                made.mux(changed)
    return path


def read(path: Path, decoder: str, choose: Callable[..., np.ndarray] = everything) -> Frames:
    return read_frames(path, choose, decoder=decoder)


# ------------------------------------------------------------------------------------ orientation
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("stem", "name", "copies"),
    [
        ("tkhd90", "90", 2),
        ("hflip", "hflip", 2),
        ("vflip", "vflip", 1),
        ("rot90hflip", "rot90hflip", 1),
    ],
)
def test_given_films_are_shown_as_their_matrix_says(
    stem: str, name: str, copies: int, decoder: str
) -> None:
    paths = sorted(CASES.glob(f"{stem}.*"))
    assert len(paths) == copies
    for path in paths:
        frames = read(path, decoder)
        np.testing.assert_array_equal(frames.pixels, shown(stored(paths[0]), MATRICES[name]))
        assert frames.pixels.shape[1:3] == ((160, 96) if "90" in name else (96, 160))
        if decoder != "auto":
            assert frames.decoder == f"pyav ({decoder}: inexact with a turned picture)"


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("name", MATRICES)
def test_all_eight_orientations_are_shown_in_every_container(
    tmp_path: Path, name: str, suffix: str, decoder: str
) -> None:
    path = write_video(tmp_path / ("v.mov" if suffix == ".mov" else "v.mp4"), 14)
    expected = shown(stored(path), MATRICES[name])
    put_matrix(path, *MATRICES[name])
    if suffix == ".mkv":
        path = copied(path, tmp_path / "v.mkv")
    frames = read(path, decoder)
    np.testing.assert_array_equal(frames.pixels, expected)
    shrunk = read_frames(path, everything, decoder=decoder, shrink=lambda some: some[:, ::2, ::3])
    np.testing.assert_array_equal(shrunk.pixels, expected[:, ::2, ::3])


@pytest.mark.parametrize(("degrees", "expected"), [(20, "upright"), (70, "90"), (-100, "270")])
def test_other_angles_are_rounded_to_quarter_turns(
    tmp_path: Path, degrees: int, expected: str
) -> None:
    path = write_video(tmp_path / "v.mp4", 4)
    upright = stored(path)
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    put_matrix(path, cosine, sine, -sine, cosine)
    pixels = read(path, "auto").pixels
    np.testing.assert_array_equal(pixels, shown(upright, MATRICES[expected]))


def orientation_message(codec: str, quarter_turns: int, hflip: int, vflip: int) -> bytes:
    """A NAL unit with a display orientation: mirrored, then turned counterclockwise."""
    turn = quarter_turns << 14
    # H.264 goes on with a repetition period and an extension flag, HEVC with a persistence flag.
    bits = f"0{hflip}{vflip}{turn:016b}" + ("0100" if codec == "libx264" else "1") + "1"
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    unit = (b"\x06" if codec == "libx264" else b"\x4e\x01") + bytes([47, len(payload)]) + payload
    assert b"\0\0" not in unit  # which would have to be escaped
    return struct.pack(">I", len(unit) + 1) + unit + b"\x80"


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize(
    ("message", "name"),
    [((1, 0, 0), "270"), ((3, 0, 0), "90"), ((0, 1, 0), "hflip"), ((0, 0, 1), "vflip")],
)
def test_orientation_inside_the_codec_is_shown(
    tmp_path: Path,
    message: tuple[int, int, int],
    name: str,
    codec: str,
    suffix: str,
    decoder: str,
) -> None:
    plain = write_video(tmp_path / "plain.mp4", 14, codec=codec)
    unit = orientation_message(codec, *message)
    path = copied(plain, tmp_path / f"v{suffix}", lambda data: unit + data)
    expected = shown(stored(plain), MATRICES[name])
    np.testing.assert_array_equal(read(path, decoder).pixels, expected)


def test_orientation_is_applied_once_if_container_and_codec_state_it(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "plain.mp4", 14)
    unit = orientation_message("libx264", 3, 0, 0)
    path = copied(plain, tmp_path / "v.mp4", lambda data: unit + data)
    put_matrix(path, *MATRICES["90"])
    expected = shown(stored(plain), MATRICES["90"])
    np.testing.assert_array_equal(read(path, "auto").pixels, expected)


# ---------------------------------------------------------------------------------------- streams
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("name", "number", "size"),
    [
        ("two_streams.mp4", 1, (192, 320)),  # only the second is a default
        ("two_streams2.mp4", 0, (192, 320)),  # both are
        ("two_streams3.mkv", 1, (96, 160)),
    ],
)
def test_the_first_default_stream_is_read(
    name: str, number: int, size: tuple[int, int], decoder: str
) -> None:
    frames = read(CASES / name, decoder)
    assert frames.pixels.shape == (30, *size, 3)
    np.testing.assert_array_equal(frames.pixels, stored(CASES / name, number))
    if decoder != "auto":
        assert frames.decoder == f"pyav ({decoder}: inexact with several video streams)"


def streams(path: Path, films: list[Path], dispositions: list[Disposition]) -> Path:
    with av.open(str(path), "w") as made:
        parts = []
        for film, disposition in zip(films, dispositions, strict=True):
            media = av.open(str(film))
            stream = made.add_stream_from_template(media.streams.video[0])
            stream.disposition = disposition
            parts.append((media, stream))
        for media, stream in parts:
            for packet in media.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    made.mux(packet)
            media.close()
    return path


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_the_rule_holds_for_every_container(tmp_path: Path, suffix: str, decoder: str) -> None:
    small = write_video(tmp_path / "small.mp4", 10)
    large = write_video(tmp_path / "large.mp4", 20, size=(192, 128))
    neither, default = Disposition(0), Disposition.default
    for films, marks, expected in (
        ([small, large], [default, neither], small),
        ([small, large], [neither, default], large),
        ([large, small], [default, default], large),
        ([small, large], [default, default], small),
    ):
        frames = read(streams(tmp_path / f"both{suffix}", films, marks), decoder)
        np.testing.assert_array_equal(frames.pixels, stored(expected))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_cover_is_not_the_film(tmp_path: Path, is_first: bool, decoder: str) -> None:
    film = write_video(tmp_path / "film.mp4", 10)
    path = tmp_path / "covered.mp4"
    with av.open(str(film)) as media, av.open(str(path), "w") as made:
        stream = None if is_first else made.add_stream_from_template(media.streams.video[0])
        cover = made.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 320, 240, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        stream = stream or made.add_stream_from_template(media.streams.video[0])
        picture = av.VideoFrame.from_ndarray(paint(7, (320, 240)), format="rgb24")
        made.mux([*cover.encode(picture), *cover.encode(None)])
        for packet in media.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    np.testing.assert_array_equal(read(path, decoder).pixels, stored(film))


# ------------------------------------------------------------------------------- changing pictures
CHANGE = r"cannot be decoded: its picture changes from {} to {} in mid-film; cut it there"


@pytest.mark.parametrize("choose", [start, everything])
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", ["rc.mp4", "rc2.mp4"])
def test_given_films_that_change_their_size_are_refused(
    name: str, decoder: str, choose: Callable[..., np.ndarray]
) -> None:
    with pytest.raises(UnreadableMedia, match=CHANGE.format("160 x 96", "320 x 192")):
        read(CASES / name, decoder, choose)


def joined(path: Path, films: list[Path], headers: bool = True) -> Path:
    """Put the packets of films one after another, with their parameter sets inside if `headers`."""
    with av.open(str(films[0])) as media, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(media.streams.video[0], opaque=True)
        begin = 0
        for film in films:
            with av.open(str(film)) as part:
                codec = part.streams.video[0].codec_context
                inside = _parameter_sets(codec.name, codec.extradata or b"") if headers else b""
                times = []
                for packet in part.demux(video=0):
                    if packet.dts is None:
                        continue
                    data = (inside if packet.is_keyframe else b"") + bytes(packet)
                    moved = av.Packet(data)
                    moved.pts, moved.dts = packet.pts + begin, packet.dts + begin
                    moved.duration, moved.time_base = packet.duration, packet.time_base
                    moved.is_keyframe, moved.stream = packet.is_keyframe, stream
                    times.append(packet.pts)
                    made.mux(moved)
                begin += (max(times) - min(times)) * len(times) // (len(times) - 1)
    return path


def _parameter_sets(codec: str, header: bytes) -> bytes:
    """The units of an avcC or hvcC header, each after its length in four bytes."""
    units, place = [], 6 if codec == "h264" else 23
    if codec == "h264":
        for count in (header[5] & 31, None):
            if count is None:
                count, place = header[place], place + 1
            for _ in range(count):
                size = int.from_bytes(header[place : place + 2], "big")
                units.append(header[place + 2 : place + 2 + size])
                place += 2 + size
    elif codec == "hevc":
        for _ in range(header[22]):
            count, place = int.from_bytes(header[place + 1 : place + 3], "big"), place + 3
            for _ in range(count):
                size = int.from_bytes(header[place : place + 2], "big")
                units.append(header[place + 2 : place + 2 + size])
                place += 2 + size
    else:
        return header if codec == "mpeg4" else b""
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in units)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".mp4", "libx264"),
        (".mkv", "libx264"),
        (".mp4", "libx265"),
        (".mkv", "libx265"),
        (".mp4", "mpeg4"),
        (".webm", "libvpx"),
        (".webm", "libvpx-vp9"),
        (".mp4", "libvpx-vp9"),
        (".mp4", "libsvtav1"),
    ],
)
def test_films_of_every_codec_that_change_their_size_are_refused(
    tmp_path: Path, suffix: str, codec: str, decoder: str
) -> None:
    options = {"preset": "12"} if codec == "libsvtav1" else {}
    sizes = [(96, 64), (192, 128), (96, 80)]
    part = ".webm" if suffix == ".webm" else ".mp4"  # an mkv file states no decoding times
    small, large, other = (
        write_video(tmp_path / f"{i}{part}", 30, codec=codec, size=size, options=options)
        for i, size in enumerate(sizes)
    )
    for films, names in (
        ([small, large], ("96 x 64", "192 x 128")),
        ([large, small, large], ("192 x 128", "96 x 64")),
        ([small, other], ("96 x 64", "96 x 80")),
    ):
        path = joined(tmp_path / f"joined{suffix}", films)
        for choose in (start, everything):
            with pytest.raises(UnreadableMedia, match=CHANGE.format(*names)):
                read(path, decoder, choose)
    same = joined(tmp_path / f"same{suffix}", [small, small])
    assert read(same, "auto").num_frames == 60


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_film_with_two_descriptions_of_samples_is_refused(tmp_path: Path, decoder: str) -> None:
    """mp4 can give later chunks another avcC header, without parameter sets in their packets."""
    films = [
        write_video(tmp_path / f"{i}.mp4", 12, size=size)
        for i, size in enumerate([(96, 64), (192, 128)])
    ]
    path = joined(tmp_path / "joined.mp4", films, headers=False)
    data, other = bytearray(path.read_bytes()), films[1].read_bytes()
    assert data.index(b"moov") > data.index(b"mdat")  # so that no offset of a chunk changes
    second = box(other, b"avc1")
    sizes = box(data, b"stsz")
    num_samples = struct.unpack(">I", sizes[16:20])[0]
    assert num_samples == 24
    # Every sample becomes a chunk, in the order of the file.
    chunks = box(data, b"stco")
    begin, offsets = struct.unpack(">I", chunks[16:20])[0], []
    assert struct.unpack(">I", chunks[12:16])[0] == 1  # one chunk has all of them
    for size in struct.unpack(">24I", sizes[20:116]):
        offsets.append(begin)
        begin += size
    made = {
        b"stsd": b"stsd"
        + box(data, b"stsd")[8:12]
        + struct.pack(">I", 2)
        + box(data, b"stsd")[16:]
        + second,
        b"stsc": b"stsc" + struct.pack(">8I", 0, 2, 1, 1, 1, 13, 1, 2),
        b"stco": b"stco" + struct.pack(">26I", 0, 24, *offsets),
    }
    for name, content in made.items():
        replace_box(data, name, struct.pack(">I", len(content) + 4) + content)
    path.write_bytes(data)
    assert {frame.shape for frame in frames_of(path)} == {(64, 96, 3), (128, 192, 3)}
    for choose in (start, everything):
        with pytest.raises(UnreadableMedia, match=CHANGE.format("96 x 64", "192 x 128")):
            read(path, decoder, choose)


def box(data: bytes | bytearray, name: bytes) -> bytes:
    place = data.rindex(name) - 4
    return bytes(data[place : place + int.from_bytes(data[place : place + 4], "big")])


def replace_box(data: bytearray, name: bytes, made: bytes) -> None:
    """Put `made` in the place of a box, and correct the sizes of those around it."""
    place = data.rindex(name) - 4
    old = int.from_bytes(data[place : place + 4], "big")
    data[place : place + old] = made
    for outer in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        at = data.rindex(outer) - 4
        size = int.from_bytes(data[at : at + 4], "big") + len(made) - old
        data[at : at + 4] = size.to_bytes(4, "big")


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_orientation_that_changes_is_refused(tmp_path: Path, decoder: str) -> None:
    plain = write_video(tmp_path / "plain.mp4", 36)
    seen: list[int] = []

    def change(data: bytes) -> bytes:
        seen.append(len(data))
        return orientation_message("libx264", 1 if len(seen) <= 24 else 3, 0, 0) + data

    path = copied(plain, tmp_path / "v.mp4", change)
    change_of = CHANGE.format("96 x 64, turned by 270 degrees", "96 x 64, turned by 90 degrees")
    for choose in (start, everything):
        with pytest.raises(UnreadableMedia, match=change_of):
            read(path, decoder, choose)


def test_a_size_between_keyframes_of_vp9_is_found() -> None:
    """A frame that states a size though it refers to others; bits after the specification, 6.2."""
    refers = "100001100000000001000000100100"
    for found, size in (("1", b""), ("01", b""), ("001", b""), ("000", b"\0\x5f\0\x3f")):
        bits = refers + found + f"{95:016b}{63:016b}"
        bits += "0" * (-len(bits) % 8)
        data = int(bits, 2).to_bytes(len(bits) // 8, "big")
        assert picture_headers("vp9", memoryview(data), b"", is_key=False) == size


@pytest.mark.parametrize("choose", [start, everything])
def test_an_av1_film_with_a_size_for_each_frame_is_refused(
    tmp_path: Path, choose: Callable[..., np.ndarray]
) -> None:
    scaled = {"preset": "10", "svtav1-params": "resize-mode=2"}  # at random
    path = write_video(tmp_path / "v.mp4", 20, codec="libsvtav1", size=(320, 192), options=scaled)
    assert len({frame.shape for frame in frames_of(path)}) > 4
    with pytest.raises(UnreadableMedia, match=r"its picture changes from \d+ x \d+ to \d+ x \d+"):
        read(path, "auto", choose)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_av1_films_of_one_size_are_read(tmp_path: Path, suffix: str) -> None:
    for name, setting in (
        ("plain", "tune=0"),
        ("halved", "resize-mode=1:resize-denom=16:resize-kf-denom=16"),
    ):
        options = {"preset": "10", "svtav1-params": setting}
        path = write_video(
            tmp_path / f"{name}{suffix}", 30, codec="libsvtav1", size=(192, 128), options=options
        )
        with av.open(str(path)) as media:
            header = media.streams.video[0].codec_context.extradata or b""
            packets = [packet for packet in media.demux(video=0) if packet.size]
            found = {
                picture_headers("av1", memoryview(packet), header, is_key=packet.is_keyframe)
                for packet in packets
            }
        assert (OWN_SIZE in found) == (name == "halved")
        pixels = read(path, "auto").pixels
        np.testing.assert_array_equal(pixels, stored(path))
        assert pixels.shape == ((30, 128, 192, 3) if name == "plain" else (30, 64, 96, 3))


# ----------------------------------------------------------------------------------------- limits
@pytest.mark.parametrize("decoder", DECODERS)
def test_more_pixels_than_are_held_are_refused_before_they_are_decoded(
    tmp_path: Path, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "v.mp4", 40)
    monkeypatch.setattr(limits, "MOST_BYTES", 96 * 64 * 3 * 20)
    assert len(read(path, decoder, lambda *_: np.arange(20)[None]).pixels) == 20
    with pytest.raises(UnreadableMedia, match=r"v\.mp4 .*: 21 frames of 96 x 64 pixels .* fewer"):
        read(path, decoder, lambda *_: np.arange(21)[None])
    whole = read_frames(path, everything, decoder=decoder, shrink=lambda some: some[:, :8, :8])
    assert whole.pixels.shape == (40, 8, 8, 3)  # eight at a time


def test_a_film_with_too_large_a_picture_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "v.mp4", 4)
    monkeypatch.setattr(limits, "LARGEST_PICTURE", 96 * 64 - 1)
    with pytest.raises(UnreadableMedia, match=r"it has 96 x 64 pixels, and at most 6,143 are read"):
        inspect(path)


def test_frame_folders_have_the_same_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    for number in range(1, 5):
        Image.fromarray(paint(number)).save(tmp_path / f"{number:05}.png")
    monkeypatch.setattr(limits, "MOST_BYTES", 96 * 64 * 3 * 3)
    folder = FrameFolder(tmp_path)
    assert len(read_frames(folder, lambda *_: np.arange(3)[None]).pixels) == 3
    with pytest.raises(UnreadableMedia, match="4 frames of 96 x 64 pixels are needed at once"):
        read_frames(folder, everything)
