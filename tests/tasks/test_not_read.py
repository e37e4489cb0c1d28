"""What lies next to media is read, or counted and named: extensions, kinds, links, names, leaks."""

import io
import json
import os
import shutil
import socket
import tarfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.discover.not_read import kind_of_content
from bench.data.media.in_both_splits import in_both
from bench.data.media.media import FrameFolder, Member, ParquetCell
from bench.errors import DataError
from bench.types import Silent
from tasks.folder import folder
from tasks.k400 import k400
from tasks.listing import listing
from tests.commands import Bench, Records
from tests.data.test_media import write_parquet
from tests.media import write_video

CASES = Path(__file__).parents[1] / "fixtures" / "cases" / "tree"
NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
RUN = ("--encoder", "pixel_mean", "--task", "folder", "--probe", "knn")
RUN = (*RUN, "--set", "probe.k=[1]", "--set", "plan=8x1x1@1", "--device", "cpu", "--workers", "1")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A copy of the films of `dupes` without the leak: 12 to train on, 6 to score."""
    root = tmp_path / "data"
    shutil.copytree(CASES / "dupes", root)
    (root / "val/red/leak.mp4").unlink()
    return root


# --------------------------------------------------------------------------------- the four cases
@pytest.mark.parametrize(
    ("case", "scored", "fitted", "notes"),
    [
        ("flv", 7, 13, ["1 of the 7 scored media is also in the training split (equal bytes)"]),
        ("noext", 6, 12, []),
        ("nfd", 6, 12, []),
        ("dupes", 7, 12, ["red/leak.mp4 = train/red/red_0.mp4"]),
    ],
)
def test_every_film_of_a_case_is_scored_and_a_leak_is_noted(
    records: Records, case: str, scored: int, fitted: int, notes: list[str]
) -> None:
    [record] = records(*RUN, "--data", CASES / case, codes=(0, 1, 3, 5))
    fit, score = record["data"]["fit"], record["data"]["score"]
    assert (fit["listed"], fit["used"], fit["notes"]) == (fitted, fitted, [])
    assert (score["listed"], score["used"]) == (scored, scored)
    found = [note for note in score["notes"] if "training split" in note]
    assert len(found) == len(notes)
    assert all(note in one for note, one in zip(notes, found, strict=True))
    assert record["task"]["num_classes"] == 3


def test_check_names_the_leak_and_is_not_failed_by_it(bench: Bench, tmp_path: Path) -> None:
    words = ("check", "folder", "--data", CASES / "dupes", "--set", "plan=4x1x1@1", "--json")
    code, said, _ = bench(*words, "--home", tmp_path / "home")
    assert code == 0
    assert json.loads(said)["train"]["notes"] == []
    assert json.loads(said)["val"]["notes"] == [
        "1 of the 7 scored media is also in the training split (equal bytes):"
        " red/leak.mp4 = train/red/red_0.mp4"
    ]


# ------------------------------------------------------------------------------ extensions, kinds
def test_what_is_not_read_is_counted_and_named_and_clutter_is_not(
    bench: Bench, data: Path, tmp_path: Path
) -> None:
    red = data / "val/red"
    for name in ("Thumbs.db", "x.srt", "x.json", "notes.txt", "LICENSE", "x.npy", ".DS_Store"):
        (red / name).write_bytes(b"clutter")
    for number in range(7):
        (red / f"x{number}.xyz").write_bytes(b"x")
    (red / "clip.0012").write_bytes((red / "red_0.mp4").read_bytes())
    (red / "noise").write_bytes(b"neither a film nor a picture")
    (red / "RED_9.MP4").write_bytes((red / "red_0.mp4").read_bytes() + b"\0" * 8)
    Image.new("RGB", (8, 8)).save(red / "thumb.gif")
    (data / "val/empty").mkdir()
    task = folder(data=data)
    assert task.fit.notes == ()
    assert "red/RED_9.MP4" in task.score.ids and len(task.score) == 7
    assert task.score.notes == (
        "1 not read (folder without media): empty",
        "1 not read (no extension, and the first bytes are of no known format): red/noise",
        "1 not read (picture among videos): red/thumb.gif",
        "8 not read (unknown extension): red/clip.0012, red/x0.xyz, red/x1.xyz, red/x2.xyz,"
        " red/x3.xyz, and 3 more",
    )
    words = ("check", "folder", "--data", data, "--set", "plan=4x1x1@1")
    code, said, _ = bench(*words, "--home", tmp_path / "home")
    assert code == 0 and "8 not read (unknown extension): red/clip.0012," in said.replace("\n", "")


def test_folders_where_films_and_pictures_are_mixed_are_refused(data: Path) -> None:
    for number in range(5):
        Image.new("RGB", (8, 8)).save(data / f"train/red/{number}.png")
    with pytest.raises(DataError, match="found 12 videos and 5 images"):
        folder(data=data)
    (data / "train/red/4.png").unlink()
    assert folder(data=data).fit.notes == (
        "4 not read (picture among videos): red/0.png, red/1.png, red/2.png, red/3.png",
    )


@pytest.mark.parametrize("suffix", ["jfif", "JPE", "ppm", "pgm", "avif", "jp2", "apng", ""])
def test_pictures_of_every_extension_are_read(tmp_path: Path, suffix: str) -> None:
    form = {"jfif": "JPEG", "jpe": "JPEG", "jp2": "JPEG2000", "apng": "PNG", "": "WEBP"}
    form |= {"pgm": "PPM", "ppm": "PPM", "avif": "AVIF"}
    for split in ("train", "val"):
        for number, name in enumerate(("a", "b")):
            path = tmp_path / split / name / (f"1.{suffix}" if suffix else "1")
            path.parent.mkdir(parents=True)
            mode = "L" if suffix == "pgm" else "RGB"
            shade = 200 * number if mode == "L" else (200 * number,) * 3
            Image.new(mode, (16, 16), shade).save(path, form[suffix.lower()])
    task = folder(data=tmp_path)
    assert (task.kind, len(task.fit), len(task.score), task.score.notes) == ("image", 2, 2, ())


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "libx264"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx"),
        ("a.avi", "mpeg4"),
        ("a.flv", "flv1"),
        ("a.wmv", "wmv2"),
        ("a.ts", "libx264"),
        ("a.m2ts", "libx264"),
        ("a.mpg", "mpeg1video"),
        ("a.m1v", "mpeg1video"),
        ("a.mxf", "mpeg2video"),
        ("a.3gp", "libx264"),
        ("a.ivf", "libvpx"),
    ],
)
def test_films_are_known_by_their_first_bytes(tmp_path: Path, name: str, codec: str) -> None:
    path = write_video(tmp_path / name, 6, codec=codec)
    assert kind_of_content(path.read_bytes()[:4096]) == "video"


def test_text_and_sound_are_not_films() -> None:
    for first in (b"", b"not skipped", b"the free ones", b"G" * 3, b"OggS\0vorbis", b"BMW cars"):
        assert kind_of_content(first) is None
    assert kind_of_content(b"\0\0\0\x20ftypM4A ") is None
    assert kind_of_content(b"\0\0\0\x20ftypheic") is None
    assert kind_of_content(b"P6\n16 16\n255\n") == "image"


def test_list_may_name_films_without_extension(data: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for file in sorted((data / split).rglob("*.mp4")):
            file.rename(file.with_suffix(""))
        rows = [f"{f.relative_to(data)} {f.parent.name}" for f in (data / split).rglob("*_*")]
        (tmp_path / f"{split}.csv").write_text("\n".join(rows).replace(" ", ","))
    task = listing(train=tmp_path / "train.csv", val=tmp_path / "val.csv", data=data)
    assert (task.kind, len(task.fit), len(task.score)) == ("video", 12, 6)


def test_members_of_a_tar_are_read_or_counted(tmp_path: Path) -> None:
    film = (CASES / "dupes/train/red/red_0.mp4").read_bytes()
    members = {"abseiling/one": film, "abseiling/x.xyz": b"1", "abseiling/2.jpg": b"2"}
    members |= {"abseiling/x.txt": b"two\nlines", "abseiling/three.flv": film}
    for split in ("train", "val"):
        with tarfile.open(tmp_path / f"{split}.tar", "w") as archive:
            for name, content in members.items():
                entry = tarfile.TarInfo(f"{split}/{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    task = k400(data=tmp_path)
    assert sorted(task.fit.ids) == ["one", "three"]
    assert task.fit.notes == (
        "1 not read (picture among videos): train.tar/train/abseiling/2.jpg",
        "1 not read (unknown extension): train.tar/train/abseiling/x.xyz",
    )
    assert task.score.notes[1] == "1 not read (unknown extension): val.tar/val/abseiling/x.xyz"


# ---------------------------------------------------------------------------------- kinds of files
def test_pipes_sockets_and_links_to_nothing_are_rows_that_are_never_opened(
    bench: Bench, data: Path, tmp_path: Path
) -> None:
    red = data / "val/red"
    os.mkfifo(red / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(red)  # the path of a socket is short
        made.bind("socket.mp4")
        os.chdir(here)
    (red / "dangling.mp4").symlink_to("gone.mp4")
    (red / "circle.mp4").symlink_to("circle.mp4")
    (red / "up").symlink_to(data)
    words = ("check", "folder", "--data", data, "--set", "plan=4x1x1@1", "--json")
    code, said, _ = bench(*words, "--home", tmp_path / "home")
    report = json.loads(said)["val"]
    reasons = dict(report["unreadable"])
    assert code == 4 and report["problems"] == 4
    assert (report["empty"], report["missing"], report["listed"]) == ([], [], 10)
    assert "it is a named pipe, not a regular file" in reasons["red/pipe.mp4"]
    assert "it is a socket, not a regular file" in reasons["red/socket.mp4"]
    assert "it is a link to gone.mp4, which does not exist" in reasons["red/dangling.mp4"]
    assert "it is a link in a circle" in reasons["red/circle.mp4"]
    assert report["notes"] == ["1 not read (link to a folder that contains it): red/up"]


def test_run_counts_a_pipe_as_undecodable(records: Records, data: Path) -> None:
    os.mkfifo(data / "val/red/pipe.mp4")
    [record] = records(*RUN, "--data", data, "--on-unreadable", "wrong", codes=(0, 1, 3, 5))
    score = record["data"]["score"]
    assert (score["listed"], score["used"], score["missing"]) == (7, 6, [])
    assert list(score["undecodable"]) == ["red/pipe.mp4"]
    assert "named pipe" in score["undecodable"]["red/pipe.mp4"]


# ------------------------------------------------------------------------------------------- names
def test_class_folders_in_two_unicode_forms_are_one_class_between_splits(data: Path) -> None:
    (data / "train/red").rename(data / "train" / NFC)
    (data / "val/red").rename(data / "val" / NFD)
    task = folder(data=data)
    assert list(task.classes) == ["blue", NFC, "green"]
    assert task.score.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert all(Path(str(medium)).exists() for medium in task.score.media)
    assert task.score.ids[2] == f"{NFC}/red_0.mp4"


def test_class_folders_that_are_one_name_within_a_split_are_refused(data: Path) -> None:
    (data / "train/red").rename(data / "train" / NFC)
    (data / "train/blue").rename(data / "train" / NFD)
    with pytest.raises(DataError, match=r"'cafe\\u0301' and 'caf\\xe9', which are one name"):
        folder(data=data)


def test_lists_and_class_lists_match_files_and_labels_in_the_other_form(
    data: Path, tmp_path: Path
) -> None:
    for split, on_disk, listed in (("train", NFD, NFC), ("val", NFC, NFD)):
        (data / split / "red").rename(data / split / on_disk)
        (data / split / on_disk / "red_0.mp4").rename(data / split / on_disk / f"{on_disk}.mp4")
        names = [f"{listed}/{listed}.mp4", f"{listed}/red_1.mp4", "blue/blue_0.mp4"]
        rows = [f"{split}/{name},{name.split('/')[0]}" for name in names]
        (tmp_path / f"{split}.csv").write_text("\n".join(["path,label", *rows]))
    (tmp_path / "classes.txt").write_text(f"{NFD}\nblue\n")
    lists = {"train": tmp_path / "train.csv", "val": tmp_path / "val.csv", "data": data}
    for task in (listing(**lists), listing(**lists, classes=tmp_path / "classes.txt")):
        assert {task.classes[row] for row in task.score.labels[:2]} == {NFC}
        assert all(Path(str(medium)).exists() for medium in (*task.fit.media, *task.score.media))
        assert task.score.ids[0] == f"val/{NFC}/{NFC}.mp4"


def test_published_lists_match_files_in_the_other_form(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / split / f"{NFD}{split}.mp4").write_bytes(b"film")
        (tmp_path / f"{split}.csv").write_text(f"{NFC}{split}.mp4 0\n")
    task = k400(data=tmp_path)
    assert list(task.score.ids) == [f"{NFC}val"]
    assert Path(str(task.score.media[0])).exists()


# ------------------------------------------------------------------------------------------- leaks
def test_equal_bytes_are_found_in_every_form_of_media(tmp_path: Path) -> None:
    films = [write_video(tmp_path / f"{n}.mp4", 6 + n).read_bytes() for n in range(3)]
    (tmp_path / "copy.mp4").write_bytes(films[0])
    (tmp_path / "empty.mp4").write_bytes(b"")
    os.link(tmp_path / "1.mp4", tmp_path / "hard.mp4")
    (tmp_path / "soft.mp4").symlink_to("2.mp4")
    (tmp_path / "part.tar").write_bytes(b"\0" * 512 + films[1])
    cells = write_parquet(tmp_path / "cells.parquet", [b"other", films[2]])
    rng = np.random.default_rng(0)
    for name in ("frames", "same"):
        (tmp_path / name).mkdir()
    for number in range(2):
        picture = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        for name in ("frames", "same"):
            picture.save(tmp_path / name / f"{number}.png")
    member = Member(tmp_path / "part.tar", "1.mp4", 512, len(films[1]))
    fit = [tmp_path / "0.mp4", tmp_path / "1.mp4", tmp_path / "empty.mp4"]
    fit += [FrameFolder(tmp_path / "frames"), tmp_path / "gone.mp4", tmp_path / "2.mp4"]
    score = {
        tmp_path / "copy.mp4": 0,
        tmp_path / "hard.mp4": 1,
        member: 1,
        tmp_path / "0.mp4": 0,
        FrameFolder(tmp_path / "same"): 3,
        tmp_path / "soft.mp4": 5,
        tmp_path / "empty.mp4": None,
        tmp_path / "gone.mp4": None,
    }
    found = in_both(fit, list(score), cache=tmp_path / "c", progress=Silent())
    assert found == {row: of for row, of in enumerate(score.values()) if of is not None}
    one = [ParquetCell(cells, 0, "video"), ParquetCell(cells, 1, "video")]
    assert in_both(fit, one, cache=tmp_path / "c", progress=Silent()) == {1: 5}


def test_only_media_of_equal_size_are_read(tmp_path: Path) -> None:
    for name, size in (("a", 5), ("b", 6), ("c", 7), ("d", 6)):
        (tmp_path / name).write_bytes(name.encode() * size)
    cache = tmp_path / "c.sqlite"
    media = [[tmp_path / name for name in names] for names in ("ab", "cd")]
    assert not in_both(*media, cache=cache, progress=Silent())
    import sqlite3

    read = sqlite3.connect(cache).execute("SELECT count(*) FROM media").fetchone()
    assert read[0] <= 2  # b and d; files written a moment ago are not kept in the cache
