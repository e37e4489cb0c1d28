"""Every form of media reads as the plain file does, and what is broken is told apart and named."""

import io
import pickle
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from bench.data.decode.decode import read_frames
from bench.data.decode.images import read_image
from bench.data.decode.truncation import missing_bytes
from bench.data.loader import samples
from bench.data.manifest import Manifest
from bench.data.media import archive_parts as part_bytes
from bench.data.media.media import (
    CELL,
    FILE,
    FRAMES,
    MEMBER,
    FrameFolder,
    MediaColumn,
    Member,
    ParquetCell,
    opened,
    place,
)
from bench.errors import MissingMedia, UnreadableMedia
from bench.features.source import StoredSource
from tests.features import small
from tests.media import OPEN_GOP, cut_video, paint, read_numbers, truncate, write_video

# A name of every container, and whatever makes decoders differ.
VIDEOS = {
    "gop12.mp4": {"options": {"crf": "30"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}},
    "h264.mkv": {},
    "h264.ts": {},
    "xvid.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "open.mp4": {"options": OPEN_GOP},
    "turned90.mp4": {"rotation": 90},
}
DECODERS = ["pyav", *(["decord"] if find_spec("decord") else [])]


def write_tar(path: Path, files: list[Path]) -> dict[str, Member]:
    """Write an uncompressed tar; the members are found by reading it again."""
    with tarfile.open(path, "w") as archive:
        for file in files:
            archive.add(file, f"shard/{file.name}")
    with tarfile.open(path) as archive:
        return {
            Path(entry.name).name: Member(path, entry.name, entry.offset_data, entry.size)
            for entry in archive
        }


def write_parquet(path: Path, contents: Sequence[bytes | None], rows: int = 3) -> Path:
    """Write struct{bytes, path} `video` and plain bytes `raw`, some rows in a row group."""
    cells = [{"bytes": content, "path": f"{i}.mp4"} for i, content in enumerate(contents)]
    table = pa.table({"label": list(range(len(contents))), "video": cells, "raw": contents})
    pq.write_table(table, path, row_group_size=rows)
    return path


def write_frames(folder: Path, num_frames: int, name: str = "{:05d}.png", first: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num_frames):
        Image.fromarray(paint(number)).save(folder / name.format(number + first))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, how in VIDEOS.items():
        write_video(folder / name, 40, **how)
    cut_video(folder / "gop12.mp4", folder / "cut.mp4", 4)
    return folder


@pytest.fixture(scope="module")
def parts(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, ParquetCell | Member]]:
    """The same files as members of a tar and as cells of a parquet file, by name."""
    place = tmp_path_factory.mktemp("archives")
    files = sorted(folder.iterdir())
    members = write_tar(place / "shard 0.tar", files)
    archive = write_parquet(place / "part.parquet", [file.read_bytes() for file in files])
    cells = {file.name: ParquetCell(archive, row, "video") for row, file in enumerate(files)}
    return {"tar": members, "parquet": cells}


def chosen(num_frames: int, fps: float) -> np.ndarray:
    return np.array([[num_frames - 1, 3, 20, 3], [0, 1, 2, num_frames - 2]])


# ------------------------------------------------------------------------------- parts of archives
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("form", ["tar", "parquet"])
@pytest.mark.parametrize("name", [*VIDEOS, "cut.mp4"])
def test_frames_of_a_part_are_those_of_the_file_to_the_bit(
    folder: Path,
    parts: dict[str, dict[str, ParquetCell | Member]],
    name: str,
    form: str,
    decoder: str,
) -> None:
    expected = read_frames(folder / name, chosen, decoder=decoder)
    frames = read_frames(parts[form][name], chosen, decoder=decoder)
    np.testing.assert_array_equal(frames.pixels, expected.pixels)
    np.testing.assert_array_equal(frames.index, expected.index)
    for fact in ("num_frames", "fps", "rotation", "decoder"):
        assert getattr(frames, fact) == getattr(expected, fact)
    first = 4 if name == "cut.mp4" else 0  # hidden by an edit list
    np.testing.assert_array_equal(
        read_numbers(frames.pixels)[frames.index], chosen(40 - first, 25.0) + first
    )


@pytest.mark.skipif(find_spec("decord") is None, reason="decord is not installed")
def test_pyav_takes_over_from_decord_for_a_part_too(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", 12, codec="libsvtav1", options={"preset": "12"})
    member = write_tar(tmp_path / "s.tar", [file])["a.mp4"]
    frames = read_frames(member, lambda n, _: np.array([[0, n - 1]]), decoder="decord")
    assert frames.decoder.startswith("pyav (decord: ")
    assert read_numbers(frames.pixels).tolist() == [0, 11]


@pytest.mark.parametrize("name", ["rgb.png", "small.jpg", "moving.gif"])
def test_images_of_a_part_are_those_of_the_file(tmp_path: Path, name: str) -> None:
    Image.fromarray(paint(1234)).save(tmp_path / name)
    archive = write_parquet(tmp_path / "p.parquet", [(tmp_path / name).read_bytes()])
    for part in (
        write_tar(tmp_path / "s.tar", [tmp_path / name])[name],
        ParquetCell(archive, 0, "video"),
    ):
        np.testing.assert_array_equal(read_image(part), read_image(tmp_path / name))


def test_cells_are_read_in_any_order_and_from_a_column_of_plain_bytes(tmp_path: Path) -> None:
    contents = [bytes([row]) * (row + 1) for row in range(10)]
    archive = write_parquet(tmp_path / "p.parquet", contents, rows=4)
    for column in ("video", "raw"):
        for row in (9, 0, 3, 4, 8, 1):
            assert opened(ParquetCell(archive, row, column)).getvalue() == contents[row]
    other = [content[::-1] + b"!" for content in contents]
    write_parquet(archive, other, rows=4)  # a file that was written again is read again
    assert opened(ParquetCell(archive, 1, "video")).getvalue() == other[1]


def test_what_is_kept_of_a_parquet_file_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_bytes, "KEPT_BYTES", 2500)
    monkeypatch.setattr(part_bytes, "KEPT_FILES", 2)
    kept = part_bytes._RowGroups()
    archives = [
        write_parquet(tmp_path / f"{number}.parquet", [bytes([number]) * 100] * 100, rows=10)
        for number in range(3)
    ]
    for row in range(100):
        for number, archive in enumerate(archives):
            cell = kept.cell(str(archive), (0,), "raw", row)
            assert cell.as_py() == bytes([number]) * 100
        assert kept._file.cache_info().currsize == 2
        assert 1 <= len(kept._groups) <= 2  # of little more than 1,000 bytes each


def missing_part(archive: Path, tmp_path: Path) -> list[Any]:
    return [
        Member(tmp_path / "gone.tar", "a.mp4", 512, 100),
        ParquetCell(tmp_path / "gone.parquet", 0, "video"),
        FrameFolder(tmp_path / "gone"),
        tmp_path / "gone.mp4",
        FrameFolder(archive / "clip"),
    ]


def read(media: Any, kind: str) -> Any:
    return read_image(media) if kind == "image" else read_frames(media, chosen)


@pytest.mark.parametrize("kind", ["video", "image"])
def test_what_is_not_there_is_missing_and_not_unreadable(
    parts: dict[str, dict[str, ParquetCell | Member]], tmp_path: Path, kind: str
) -> None:
    archive = next(iter(parts["tar"].values())).archive
    for media in missing_part(archive, tmp_path):
        with pytest.raises(MissingMedia, match=r"there is no such .*check the path") as caught:
            read(media, kind)
        assert str(media) in str(caught.value)


def test_parts_that_their_archive_does_not_hold_are_named_with_the_reason(
    parts: dict[str, dict[str, ParquetCell | Member]], tmp_path: Path
) -> None:
    member = parts["tar"]["gop12.mp4"]
    size = member.archive.stat().st_size
    cut = truncate(member.archive, tmp_path / "cut.tar", 0.5)
    cells = write_parquet(tmp_path / "p.parquet", [b"one", None, b""])
    empty = write_parquet(tmp_path / "none.parquet", [])
    (tmp_path / "page.parquet").write_text("<html></html>" * 50)
    holes = bytearray(cells.read_bytes())
    footer = int.from_bytes(holes[-8:-4], "little") + 8
    holes[4:-footer] = bytes(len(holes) - footer - 4)
    (tmp_path / "holes.parquet").write_bytes(holes)
    cases = {
        "ends 51 bytes too early": replace(member, offset=size - 49, size=100),
        "ends [0-9,]+ bytes too early": replace(member, archive=cut, offset=size - 5000, size=5000),
        "the cell is empty": ParquetCell(cells, 1, "video"),
        "the file is empty": ParquetCell(cells, 2, "video"),
        "has only 3 rows": ParquetCell(cells, 3, "video"),
        "has only 0 rows": ParquetCell(empty, 0, "video"),
        "has no column 'pixels'": ParquetCell(cells, 0, "pixels"),
        "has int, not bytes": ParquetCell(cells, 0, "label"),
        "parquet: .*magic bytes": ParquetCell(tmp_path / "page.parquet", 0, "video"),
        "parquet: ": ParquetCell(tmp_path / "holes.parquet", 0, "video"),
        "irectory": Member(tmp_path, "a.mp4", 0, 10),
    }
    for reason, media in cases.items():
        for kind in ("video", "image"):
            with pytest.raises(UnreadableMedia, match=f"cannot be decoded: .*{reason}") as caught:
                read(media, kind)
            assert not isinstance(caught.value, MissingMedia)
            assert str(caught.value).startswith(str(media))
            assert str(caught.value).count(str(tmp_path)) <= 1  # the name, and not the reason


def test_bytes_that_are_no_video_or_image_are_named_with_the_reason(
    folder: Path, tmp_path: Path
) -> None:
    files = {
        "page.mp4": b"<html><body>Not found</body></html>" * 40,
        "noise.mp4": np.random.default_rng(0).bytes(3000),
        "half.mp4": (folder / "gop12.mp4").read_bytes()[:-900],
        "empty.mp4": b"",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    members = write_tar(tmp_path / "s.tar", [tmp_path / name for name in files])
    for name, member in members.items():
        said = []
        for media in (tmp_path / name, member):
            with pytest.raises(UnreadableMedia, match=name) as caught:
                read_frames(media, chosen)
            said.append(str(caught.value).removeprefix(str(media)))
        assert said[1] == said[0].replace("the file again", "the archive again")
        with pytest.raises(UnreadableMedia, match=name) as caught:
            read_image(member)
        assert " at 0x" not in str(caught.value)
    assert missing_bytes(opened(members["half.mp4"])) == missing_bytes(tmp_path / "half.mp4") > 0


# -------------------------------------------------------------------------------- folders of frames
NAMES = [("{:05d}.png", 1), ("img_{:05d}.png", 0), ("a_b_c-000_{:06d}.png", 1), ("{}.png", 95)]


@pytest.mark.parametrize(("name", "first"), NAMES)
def test_frame_n_is_the_nth_picture_by_number(tmp_path: Path, name: str, first: int) -> None:
    path = write_frames(tmp_path / "clip", 12, name, first)
    frames = read_frames(FrameFolder(path), lambda n, fps: np.array([[n - 1, 4, 4], [0, 9, 10]]))
    expected = np.array([[11, 4, 4], [0, 9, 10]])
    np.testing.assert_array_equal(read_numbers(frames.pixels)[frames.index], expected)
    assert (frames.pixels == np.stack([paint(n) for n in (0, 4, 9, 10, 11)])).all()
    facts = (frames.num_frames, frames.fps, frames.rotation, frames.decoder)
    assert facts == (12, 0.0, 0, "pillow")


def test_pictures_of_flow_and_other_files_are_no_frames(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "clip", 5, "img_{:05d}.png")
    for kind in ("flow_x_{:05d}.png", "flow_y_{:05d}.png", "x_{:05d}.png"):
        write_frames(path, 3, kind)
    (path / "n_frames.txt").write_text("7")
    (path / ".hidden.png").write_bytes(b"")
    (path / "audio").mkdir()
    assert read_frames(FrameFolder(path), lambda n, fps: np.array([[0, n - 1]])).num_frames == 5


def test_only_the_frames_of_the_plan_are_decoded(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "clip", 9)
    truncate(path / "00004.png", path / "00004.png", 0.5)
    whole = read_frames(FrameFolder(path), lambda n, fps: np.array([[0, 2, 4, n - 1]]))
    assert read_numbers(whole.pixels).tolist() == [0, 2, 4, 8]
    with pytest.raises(UnreadableMedia, match=r"clip/00004\.png cannot be decoded: .*truncated"):
        read_frames(FrameFolder(path), lambda n, fps: np.array([[3]]))


def lose(path: Path) -> None:
    (path / "00003.png").unlink()


def double(path: Path) -> None:
    shutil.copy(path / "00003.png", path / "3.png")


def empty_one(path: Path) -> None:
    (path / "00009.png").write_bytes(b"")


def enlarge(path: Path) -> None:
    Image.fromarray(paint(1, (48, 32))).save(path / "00003.png")


def call_cover(path: Path) -> None:
    Image.fromarray(paint(1)).save(path / "cover.jpg")


def clear(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def dangle(path: Path) -> None:
    (path / "00003.png").unlink()
    (path / "00003.png").symlink_to(path / "nowhere.png")


def flatten(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"not a folder")


@pytest.mark.parametrize(
    ("break_", "reason"),
    [
        (lose, "numbers run from 1 to 9, but there are 8 pictures"),
        (double, r"00003\.png and 3\.png have the same number"),
        (empty_one, r"the picture 00009\.png is empty"),
        (enlarge, r"00003\.png has 48 x 32 pixels, but 00001\.png has 96 x 64"),
        (call_cover, r"cover\.jpg does not end in a number"),
        (clear, "it has no pictures"),
        (dangle, r"the picture 00003\.png: No such file"),
        (flatten, "it is a file, not a folder"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_folder_of_frames_is_unreadable_with_the_reason(
    tmp_path: Path, break_: Callable[..., Any], reason: str
) -> None:
    path = write_frames(tmp_path / "clip", 9)
    break_(path)
    with pytest.raises(UnreadableMedia, match=rf"clip/ cannot be decoded: .*{reason}") as caught:
        read_frames(FrameFolder(path), lambda n, fps: np.array([[0, 1, 2]]))
    assert not isinstance(caught.value, MissingMedia)


# ----------------------------------------------------------------------------- columns and features
@pytest.fixture
def column(tmp_path: Path) -> MediaColumn:
    """Two videos as files, folders of lossless frames, members and cells; then three broken rows.

    Returns the column and which of its rows show the same video.
    """
    files = small.make_videos(tmp_path, 2)
    for file in files:
        every = read_frames(file, lambda n, fps: np.arange(n)[None])
        (tmp_path / file.stem).mkdir()
        for number, picture in enumerate(every.pixels):
            Image.fromarray(picture).save(tmp_path / file.stem / f"img_{number:05d}.png")
    members = list(write_tar(tmp_path / "s.tar", files).values())
    write_parquet(tmp_path / "p.parquet", [file.read_bytes() for file in files])
    rows = [(FILE, file.name, -1, 0, 0) for file in files]
    rows += [(FRAMES, file.stem, -1, 0, 0) for file in files]
    rows += [(MEMBER, member.name, 0, member.offset, member.size) for member in members]
    rows += [(CELL, "video", 1, row, 0) for row in range(2)]
    rows += [(FILE, "gone.mp4", -1, 0, 0), (MEMBER, "a.mp4", 0, 1 << 40, 9), (MEMBER, "b", 2, 0, 9)]
    form, names, archive, offset, size = zip(*rows, strict=True)
    return MediaColumn(
        root=tmp_path,
        names=names,
        form=np.array(form, dtype=np.int8),
        archives=("s.tar", "p.parquet", "gone.tar"),
        archive=np.array(archive, dtype=np.int32),
        offset=np.array(offset, dtype=np.int64),
        size=np.array(size, dtype=np.int64),
    )


def manifest_of(column: MediaColumn) -> Manifest:
    names = [Path(f"{row}") for row in range(len(column))]
    return replace(small.make_manifest(names), media=column)


def test_the_loader_reads_every_form_in_any_process(column: MediaColumn) -> None:
    read = list(samples(manifest_of(column), np.arange(11), small.RECIPE))
    # Processes that are forked from one that keeps a row group.
    forked = samples(manifest_of(column), np.arange(11), small.RECIPE, workers=2)
    for one, other in zip(read, forked, strict=True):
        assert one.error == other.error and one.missing == other.missing
        assert one.error is not None or torch.equal(one.pixels, other.pixels)
    for row in range(2, 8):
        assert torch.equal(read[row].pixels, read[row % 2].pixels)
        assert read[row].repeated == read[row % 2].repeated
        assert read[row].num_frames == read[row % 2].num_frames
    assert [sample.decoder for sample in read[2:4]] == ["pillow", "pillow"]
    assert [sample.missing for sample in read] == [False] * 8 + [True, False, True]
    gone, beyond, archive = (sample.error for sample in read[8:])
    assert gone.startswith("gone.mp4 cannot") and beyond.startswith("s.tar/a.mp4 cannot")
    assert archive.startswith("gone.tar/b cannot")
    assert str(column.root) not in gone + beyond + archive


def test_stored_features_are_the_same_for_every_form(column: MediaColumn, tmp_path: Path) -> None:
    sets, counts = small.run(small.tiny_encoder(), manifest_of(column), tmp_path / "home")
    store = sets["vector"]
    x = store.read(np.arange(8))
    assert torch.equal(x[:2].repeat(4, 1, 1, 1), x) and x.abs().sum() > 0
    found = store.unreadable(np.arange(11))
    assert {row: note.missing for row, note in found.items()} == {8: True, 9: False, 10: True}
    assert counts.decoders["pillow"] == 2 and sum(counts.decoders.values()) == 8
    _, again = small.run(small.tiny_encoder(), manifest_of(column), tmp_path / "home")
    assert again.decoded == 0


def test_live_features_are_those_that_are_stored(column: MediaColumn, tmp_path: Path) -> None:
    manifest = manifest_of(column)
    sets, _ = small.run(small.tiny_encoder(), manifest, tmp_path / "home", dtype="float32")
    live = small.live(small.tiny_encoder(), manifest, rows=np.arange(2, 8))
    [batch] = live.epoch(0, batch_size=6)
    stored = StoredSource(sets["vector"], manifest, "vector", rows=np.arange(2, 8))
    [kept] = stored.epoch(0, batch_size=6)
    assert torch.equal(batch.x, kept.x) and len(batch.x) == 6
    assert torch.equal(batch.x[:2].repeat(3, 1, 1), batch.x)


def test_media_travel_to_other_processes(column: MediaColumn, tmp_path: Path) -> None:
    copied = pickle.loads(pickle.dumps(column))
    assert [copied[row] for row in range(11)] == [column[row] for row in range(11)]
    assert [place(column[row]).name for row in (0, 2, 4, 6)] == [
        "00.mp4",
        "00",
        "s.tar",
        "p.parquet",
    ]
    assert isinstance(opened(column[4]), io.BytesIO)
    assert opened(column[0]) == tmp_path / "00.mp4"
