"""Digests of media files: right, remembered, safe to share and to interrupt."""

import hashlib
import multiprocessing
import os
import sqlite3
from pathlib import Path

import pytest

from bench.data import fingerprint
from bench.data.fingerprint import media_digests
from bench.errors import DataError
from bench.types import Silent


@pytest.fixture
def media(tmp_path: Path) -> list[Path]:
    return [settled(tmp_path / f"{i}.mp4", b"clip %d" % i) for i in range(7)]


def settled(path: Path, content: bytes) -> Path:
    """Write a file that looks as if it had been there for long."""
    path.write_bytes(content)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    seen: list[str] = []
    original = fingerprint._read

    def counted(path: str):
        seen.append(path)
        return original(path)

    monkeypatch.setattr(fingerprint, "_read", counted)
    return seen


def digests(paths, cache, progress=None) -> list[str]:
    return media_digests(paths, cache=cache, progress=progress or Silent())


def test_digest_is_the_sha256_of_the_bytes(tmp_path, media):
    expected = [hashlib.sha256(b"clip %d" % i).hexdigest() for i in range(7)]
    assert digests(media, tmp_path / "new" / "cache.sqlite") == expected
    assert digests(media[::-1], tmp_path / "new" / "cache.sqlite") == expected[::-1]


def test_unchanged_file_is_read_once(tmp_path, media, reads):
    first = digests(media, tmp_path / "c")
    assert len(reads) == 7
    assert digests(media, tmp_path / "c") == first
    assert len(reads) == 7


def test_changed_bytes_are_seen_even_with_size_and_time_restored(tmp_path, media, reads):
    before = digests(media, tmp_path / "c")
    settled(media[3], b"CLIP 3")
    after = digests(media, tmp_path / "c")
    assert [i for i in range(7) if before[i] != after[i]] == [3]
    assert after[3] == hashlib.sha256(b"CLIP 3").hexdigest()
    assert len(reads) == 8


def test_file_written_a_moment_ago_is_not_trusted_next_time(tmp_path, reads):
    path = tmp_path / "new.mp4"
    path.write_bytes(b"one")
    digests([path], tmp_path / "c")
    digests([path], tmp_path / "c")
    assert len(reads) == 2


def test_link_and_repeated_path_share_one_entry(tmp_path, media, reads):
    link = tmp_path / "link.mp4"
    link.symlink_to(media[0])
    (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
    first = digests([media[0], media[0]], tmp_path / "c")
    assert len(reads) == 1
    again = digests([link, tmp_path / "folder" / "0.mp4"], tmp_path / "c")
    assert again == first
    assert len(reads) == 1


def test_missing_file_is_missing_until_it_comes(tmp_path, media):
    path = tmp_path / "later.mp4"
    assert digests([path, media[0]], tmp_path / "c")[0] == "missing"
    path.write_bytes(b"x")
    assert digests([path], tmp_path / "c") == [hashlib.sha256(b"x").hexdigest()]
    path.unlink()
    assert digests([path], tmp_path / "c") == ["missing"]


def test_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="not a file"):
        digests([tmp_path], tmp_path / "c")


def test_interrupted_run_keeps_what_was_committed(tmp_path, media, reads, monkeypatch):
    monkeypatch.setattr(fingerprint, "FILES_PER_COMMIT", 2)

    class Interrupting(Silent):
        steps = 0

        def advance(self, steps=1):
            self.steps += steps
            if self.steps == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        digests(media, tmp_path / "c", Interrupting())
    assert len(reads) == 4
    digests(media, tmp_path / "c")
    assert len(reads) == 7


def fill(paths: list[Path], cache: Path, expected: list[str]) -> None:
    fingerprint.FILES_PER_COMMIT = 1
    assert digests(paths, cache) == expected


def test_processes_share_a_cache(tmp_path, media):
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


def test_file_that_is_no_cache_is_named(tmp_path, media):
    (tmp_path / "c").write_text("not a database, only a text that is long enough" * 40)
    with pytest.raises(DataError, match="cannot be used"):
        digests(media, tmp_path / "c")
