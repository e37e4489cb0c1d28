"""Digests of media files: right, remembered, safe to share and to interrupt."""

import hashlib
import multiprocessing
import os
import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.data.media import archive_parts, content_digest, digest_cache
from bench.data.media.digest_cache import media_digests
from bench.data.media.media import MEMBER, FrameFolder, MediaColumn, Member, ParquetCell
from bench.errors import DataError
from bench.types import Progress, Silent


@pytest.fixture
def media(tmp_path: Path) -> list[Path]:
    return [settled(tmp_path / f"{i}.mp4", b"clip %d" % i) for i in range(7)]


def settled(path: Path, content: bytes) -> Path:
    """Write a file that looks as if it had been there for long."""
    path.write_bytes(content)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    original = digest_cache._read

    def counted(path: str) -> Any:
        seen.append(path)
        return original(path)

    monkeypatch.setattr(digest_cache, "_read", counted)
    return seen


def digests(paths: Sequence[Any], cache: Path, progress: Progress | None = None) -> list[str]:
    return media_digests(paths, cache=cache, progress=progress or Silent())


def test_digest_is_the_sha256_of_the_bytes(tmp_path: Path, media: list[Path]) -> None:
    expected = [hashlib.sha256(b"clip %d" % i).hexdigest() for i in range(7)]
    assert digests(media, tmp_path / "new" / "cache.sqlite") == expected
    assert digests(media[::-1], tmp_path / "new" / "cache.sqlite") == expected[::-1]


def test_unchanged_file_is_read_once(tmp_path: Path, media: list[Path], reads: list[str]) -> None:
    first = digests(media, tmp_path / "c")
    assert len(reads) == 7
    assert digests(media, tmp_path / "c") == first
    assert len(reads) == 7


def test_changed_bytes_are_seen_even_with_size_and_time_restored(
    tmp_path: Path, media: list[Path], reads: list[str]
) -> None:
    before = digests(media, tmp_path / "c")
    settled(media[3], b"CLIP 3")
    after = digests(media, tmp_path / "c")
    assert [i for i in range(7) if before[i] != after[i]] == [3]
    assert after[3] == hashlib.sha256(b"CLIP 3").hexdigest()
    assert len(reads) == 8


def test_file_written_a_moment_ago_is_not_trusted_next_time(
    tmp_path: Path, reads: list[str]
) -> None:
    path = tmp_path / "new.mp4"
    path.write_bytes(b"one")
    digests([path], tmp_path / "c")
    digests([path], tmp_path / "c")
    assert len(reads) == 2


def test_link_and_repeated_path_share_one_entry(
    tmp_path: Path, media: list[Path], reads: list[str]
) -> None:
    link = tmp_path / "link.mp4"
    link.symlink_to(media[0])
    (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
    first = digests([media[0], media[0]], tmp_path / "c")
    assert len(reads) == 1
    again = digests([link, tmp_path / "folder" / "0.mp4"], tmp_path / "c")
    assert again == first
    assert len(reads) == 1


def test_missing_file_is_missing_until_it_comes(tmp_path: Path, media: list[Path]) -> None:
    path = tmp_path / "later.mp4"
    assert digests([path, media[0]], tmp_path / "c")[0] == "missing"
    path.write_bytes(b"x")
    assert digests([path], tmp_path / "c") == [hashlib.sha256(b"x").hexdigest()]
    path.unlink()
    assert digests([path], tmp_path / "c") == ["missing"]


def test_what_is_not_a_regular_file_is_unreadable_and_never_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "circle.mp4").symlink_to("circle.mp4")
    names = ("folder.mp4", "pipe.mp4", "circle.mp4", f"{'a' * 300}.mp4")
    found = digests([tmp_path / name for name in names], tmp_path / "c")
    assert found == ["unreadable"] * 4


def test_interrupted_run_keeps_what_was_committed(
    tmp_path: Path, media: list[Path], reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest_cache, "FILES_PER_COMMIT", 2)

    class Interrupting(Silent):
        steps = 0

        def advance(self, steps: int = 1) -> None:
            self.steps += steps
            if self.steps == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        digests(media, tmp_path / "c", Interrupting())
    assert len(reads) == 4
    digests(media, tmp_path / "c")
    assert len(reads) == 7


def fill(paths: list[Path], cache: Path, expected: list[str]) -> None:
    digest_cache.FILES_PER_COMMIT = 1
    assert digests(paths, cache) == expected


def test_processes_share_a_cache(tmp_path: Path, media: list[Path]) -> None:
    expected = [hashlib.sha256(b"clip %d" % i).hexdigest() for i in range(7)]
    context = multiprocessing.get_context("spawn")
    args = (media, tmp_path / "c", expected)
    children = [context.Process(target=fill, args=args) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    with sqlite3.connect(tmp_path / "c") as database:
        assert database.execute("SELECT COUNT(*) FROM media").fetchone() == (7,)


def test_file_that_is_no_cache_is_named(tmp_path: Path, media: list[Path]) -> None:
    (tmp_path / "c").write_text("not a database, only a text that is long enough" * 40)
    with pytest.raises(DataError, match="cannot be used"):
        digests(media, tmp_path / "c")


# ------------------------------------------------------------------------------- parts of archives
CONTENTS = [b"clip %d" % i * (i + 1) for i in range(40)]
EXPECTED = [hashlib.sha256(content).hexdigest() for content in CONTENTS]


def members(archive: Path) -> list[Member]:
    """Write all contents behind each other, with four bytes between them."""
    settled(archive, b"".join(content + b"next" for content in CONTENTS))
    ends = np.cumsum([len(content) + 4 for content in CONTENTS]).tolist()
    return [
        Member(archive, f"{i}.mp4", end - 4 - len(content), len(content))
        for i, (end, content) in enumerate(zip(ends, CONTENTS, strict=True))
    ]


def cells(archive: Path) -> list[ParquetCell]:
    table = pa.table({"video": [{"bytes": content, "path": "x.mp4"} for content in CONTENTS]})
    pq.write_table(table, archive, row_group_size=10)
    os.utime(archive, (1_600_000_000, 1_600_000_000))
    return [ParquetCell(archive, row, "video") for row in range(len(CONTENTS))]


def counting(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list[str]:
    """Note the first argument of every call of a function."""
    seen: list[str] = []
    original = getattr(module, name)

    def counted(*arguments: Any) -> Any:
        seen.append(arguments[0])
        return original(*arguments)

    monkeypatch.setattr(module, name, counted)
    return seen


def test_the_same_bytes_have_one_digest_in_a_file_a_tar_and_parquet(tmp_path: Path) -> None:
    files = [settled(tmp_path / f"{i}.mp4", content) for i, content in enumerate(CONTENTS)]
    mixed = [*files, *members(tmp_path / "s.tar"), *cells(tmp_path / "p.parquet")]
    order = np.random.default_rng(0).permutation(len(mixed)).tolist()
    found = digests([mixed[row] for row in order], tmp_path / "c")
    assert found == [EXPECTED[row % len(CONTENTS)] for row in order]


@pytest.mark.parametrize("make", [members, cells])
def test_unchanged_archives_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., list[ParquetCell | Member]]
) -> None:
    read = counting(monkeypatch, digest_cache, "_content")
    media = make(tmp_path / "archive")
    for _ in range(2):
        assert digests(media, tmp_path / "c") == EXPECTED
    assert len(read) == len(media)
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    linked = [type(m)(tmp_path / "link", *list(vars(m).values())[1:]) for m in media]
    assert digests(linked, tmp_path / "c") == EXPECTED
    assert len(read) == len(media)
    shutil.copy(tmp_path / "archive", tmp_path / "other")
    os.utime(tmp_path / "other", (1_600_000_000, 1_600_000_000))
    (tmp_path / "other").replace(tmp_path / "archive")  # as it was, but for its inode
    assert digests(media, tmp_path / "c") == EXPECTED
    assert len(read) == 2 * len(media)


def test_a_new_archive_is_not_trusted_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = counting(monkeypatch, digest_cache, "_content")
    media = members(tmp_path / "s.tar")
    os.utime(tmp_path / "s.tar")
    for _ in range(2):
        assert digests(media, tmp_path / "c") == EXPECTED
    assert len(read) == 2 * len(media)


def test_parquet_is_read_row_group_by_row_group_whatever_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest_cache, "FILES_PER_COMMIT", 7)
    monkeypatch.setattr(archive_parts, "KEPT_BYTES", 0)
    read = counting(monkeypatch, archive_parts, "_read_cells")
    monkeypatch.setattr(digest_cache, "THREADS", 1)
    media = cells(tmp_path / "p.parquet")
    order = np.random.default_rng(0).permutation(len(media)).tolist()
    found = digests([media[row] for row in order], tmp_path / "c")
    assert found == [EXPECTED[row] for row in order]
    assert len(read) == 4


def test_an_archive_is_looked_at_for_each_chunk_and_not_for_each_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = counting(monkeypatch, content_digest, "file_state")
    after = counting(monkeypatch, digest_cache, "file_state")
    digests(members(tmp_path / "s.tar"), tmp_path / "c")
    looked = [*before, *after]
    assert len(looked) == 2  # before it is read, and after


def test_parts_that_are_not_there_are_told_apart_and_not_remembered(tmp_path: Path) -> None:
    gone = [
        Member(tmp_path / "gone.tar", "a", 0, 5),
        ParquetCell(tmp_path / "gone.parquet", 0, "video"),
    ]
    media = cells(tmp_path / "p.parquet")
    short = Member(tmp_path / "p.parquet", "a", 10, 1 << 40)
    (tmp_path / "page.parquet").write_text("<html></html>")
    broken = [
        short,
        ParquetCell(media[0].archive, 40, "video"),
        ParquetCell(tmp_path / "page.parquet", 0, "x"),
    ]
    assert digests([*gone, *broken, FrameFolder(tmp_path / "gone")], tmp_path / "c") == [
        *["missing"] * 2,
        *["unreadable"] * 3,
        "missing",
    ]
    with sqlite3.connect(tmp_path / "c") as database:
        assert database.execute("SELECT COUNT(*) FROM media").fetchone() == (0,)


def test_a_column_of_members_takes_little_memory(tmp_path: Path) -> None:
    rows = 20_000
    settled(tmp_path / "s.tar", bytes(rows))
    column = MediaColumn(
        root=tmp_path,
        names=["x.mp4"] * rows,
        form=np.full(rows, MEMBER, dtype=np.int8),
        archives=["s.tar"],
        archive=np.zeros(rows, dtype=np.int32),
        offset=np.arange(rows, dtype=np.int64)[::-1].copy(),
        size=np.ones(rows, dtype=np.int64),
    )
    tracemalloc.start()
    try:
        found = digests(column, tmp_path / "c")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == [hashlib.sha256(b"\0").hexdigest()] * rows
    assert peak < 300 * rows


# -------------------------------------------------------------------------------- folders of frames
@pytest.fixture
def clip(tmp_path: Path) -> Path:
    for number in (1, 2, 10):
        (tmp_path / "clip").mkdir(exist_ok=True)
        settled(tmp_path / "clip" / f"img_{number}.jpg", b"picture %d" % number)
    settled(tmp_path / "clip" / "flow_x_1.jpg", b"flow")
    settled(tmp_path / "clip" / "notes.txt", b"notes")
    return tmp_path / "clip"


def by_hand(pictures: dict[str, bytes]) -> str:
    text = b"".join(
        b"%s\0%s\0" % (name.encode(), hashlib.sha256(content).hexdigest().encode())
        for name, content in sorted(pictures.items())
    )
    return hashlib.sha256(text).hexdigest()


def test_the_digest_of_a_folder_is_that_of_its_frames(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = counting(monkeypatch, digest_cache, "_content")
    expected = by_hand({f"img_{n}.jpg": b"picture %d" % n for n in (1, 2, 10)})
    for _ in range(2):
        assert digests([FrameFolder(clip)], tmp_path / "c") == [expected]
    (clip / "notes.txt").write_text("others")
    (clip / "flow_x_2.jpg").write_bytes(b"flow")
    assert digests([FrameFolder(clip)], tmp_path / "c") == [expected]
    assert len(read) == 1


@pytest.mark.parametrize("how", ["changed", "removed", "added", "renamed", "swapped"])
def test_a_change_of_any_frame_is_seen(tmp_path: Path, clip: Path, how: str) -> None:
    before = digests([FrameFolder(clip)], tmp_path / "c")
    pictures = {f"img_{n}.jpg": b"picture %d" % n for n in (1, 2, 10)}
    if how == "changed":
        pictures["img_2.jpg"] = b"PICTURE 2"  # of the same size, and with its time restored
        settled(clip / "img_2.jpg", b"PICTURE 2")
    elif how == "removed":
        del pictures["img_2.jpg"]
        (clip / "img_2.jpg").unlink()
    elif how == "added":
        pictures["img_3.jpg"] = b"three"
        settled(clip / "img_3.jpg", b"three")
    elif how == "renamed":
        pictures["img_11.jpg"] = pictures.pop("img_10.jpg")
        (clip / "img_10.jpg").rename(clip / "img_11.jpg")
    else:
        pictures["img_1.jpg"], pictures["img_2.jpg"] = pictures["img_2.jpg"], pictures["img_1.jpg"]
        for old, new in (("img_1", "third"), ("img_2", "img_1"), ("third", "img_2")):
            (clip / f"{old}.jpg").rename(clip / f"{new}.jpg")
    after = digests([FrameFolder(clip)], tmp_path / "c")
    assert after == [by_hand(pictures)] and after != before


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path, media: list[Path]) -> None:
    with pytest.raises(DataError, match="not a folder of frames"):
        digests([FrameFolder(media[0])], tmp_path / "c")


def test_damaged_digests_of_the_cache_are_computed_again(media: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / "c"
    expected = digests(media, cache)
    with sqlite3.connect(cache) as database:
        kept = database.execute("SELECT sha256 FROM media ORDER BY path").fetchall()
        assert [len(digest) for (digest,) in kept] == [72] * len(media)
        flipped = "0" if kept[0][0][5] != "0" else "1"
        database.execute(
            "UPDATE media SET sha256 = ? WHERE sha256 = ?",
            (kept[0][0][:5] + flipped + kept[0][0][6:], kept[0][0]),
        )
    assert digests(media, cache) == expected
    with sqlite3.connect(cache) as database:  # as earlier versions wrote them
        database.execute("UPDATE media SET sha256 = substr(sha256, 1, 64)")
    assert digests(media, cache) == expected
