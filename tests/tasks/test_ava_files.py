"""AVA's lists and media, found by their names in the trees that users hold."""

import re
from collections.abc import Iterator
from pathlib import Path
from posix import DirEntry
from typing import Self

import pytest

from bench.data.boxes.ava_labels import read_action_list
from bench.data.media.media import FrameFolder
from bench.errors import DataError
from tasks.ava import ava
from tasks.formats import ava_media
from tasks.formats.ava_files import find_files, read_seconds, shipped_classes
from tasks.formats.ava_media import count_media, scan_ava
from tests.tasks.ava_tree import FOUND, touch, write_tree

A, B = "a" * 11, "-b_B" + "b" * 7
FORMATS = Path(__file__).parents[1] / "fixtures" / "formats" / "ava"
SLOWFAST = "person_box_67091280_iou90/ava_detection_val_boxes_and_labels.csv"


def frames(folder: Path, pattern: str, count: int = 3) -> None:
    for number in range(1, count + 1):
        touch(folder / pattern.format(number))


# ------------------------------------------------------------------------------------------- media
@pytest.mark.parametrize(
    "place", ["{}.mp4", "videos_15min/{}.mkv", "videos/trainval/{}.webm", "clips/x/y/{}.AVI"]
)
def test_files_are_found_at_any_depth(tmp_path: Path, place: str) -> None:
    for name in (A, B):
        touch(tmp_path / place.format(name))
    touch(tmp_path / "videos/other.mp4")
    assert scan_ava(tmp_path).media_of([B, A]) == [
        tmp_path / place.format(B),
        tmp_path / place.format(A),
    ]


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [("frames/{}", "{}_{{:06d}}.jpg"), ("rawframes/{}", "img_{{:05d}}.jpg"), ("{}", "{{}}.png")],
)
def test_folders_of_frames_are_found(tmp_path: Path, folder: str, pattern: str) -> None:
    for name in (A, B):
        frames(tmp_path / folder.format(name), pattern.format(name))
    media = scan_ava(tmp_path).media_of([A, B])
    assert media == [FrameFolder(tmp_path / folder.format(name)) for name in (A, B)]
    assert count_media(media) == {"folders of frames": 2}


def test_folders_of_frames_are_not_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames(tmp_path / "frames" / A, "{:06d}.jpg", count=500)
    asked = []

    class Entries:
        def __init__(self, path: Path) -> None:
            self.inner = SCANDIR(path)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *error: object) -> None:
            self.inner.close()

        def __iter__(self) -> Iterator[DirEntry]:
            for entry in self.inner:
                asked.append(entry.name)
                yield entry

    from os import scandir as SCANDIR  # noqa: N812

    monkeypatch.setattr(ava_media.os, "scandir", Entries)
    tree = scan_ava(tmp_path)
    assert list(tree.frames) == [A]
    assert len(asked) < 50


def test_whole_files_go_before_frames_unless_a_folder_is_named(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    for name in ("a", "b", "d"):
        frames(root / "frames" / (name * 11), "{:06d}.jpg")
    assert ava(data=root).fit.regions.facts["media"] == {"files": 2}
    task = ava(data=root, media=Path("frames"), frame_rate=25.0)
    assert task.fit.media[0] == FrameFolder(root / "frames" / A)
    assert task.fit.regions.facts["media"] == {"folders of frames": 2}
    assert task.score.regions.frame_rate == 25.0
    with pytest.raises(DataError, match=r"no folder nowhere, .*--set task.media=nowhere"):
        ava(data=root, media=Path("nowhere"))


def test_two_files_of_one_video_are_refused_unless_links(tmp_path: Path) -> None:
    path = touch(tmp_path / f"videos/{A}.mp4")
    (tmp_path / "links").mkdir()
    (tmp_path / f"links/{A}.mp4").symlink_to(path)
    [found] = scan_ava(tmp_path).media_of([A])
    assert found.resolve() == path
    touch(tmp_path / f"videos_15min/{A}.mp4")
    with pytest.raises(DataError, match=rf"video {A} 2 times: .*videos_15min.*task.media=DIR"):
        scan_ava(tmp_path).media_of([A])


def test_missing_video_stays_a_row_but_not_all_of_them(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    (root / f"videos/{A}.mp4").unlink()
    task = ava(data=root)
    assert [path.exists() for path in task.fit.media] == [False, False, True, True]
    for path in root.glob("videos/*"):
        path.unlink()
    with pytest.raises(DataError, match=rf"no medium of the 2 videos listed, such as {A}.mp4"):
        ava(data=root)


def test_pictures_beside_videos_or_folders_are_no_frames(tmp_path: Path) -> None:
    for number in range(100):
        touch(tmp_path / f"videos/poster_{number}_of_film.jpg")
    touch(tmp_path / f"videos/sub/{A}.mp4")
    touch(tmp_path / f"videos/{B}.mp4")
    tree = scan_ava(tmp_path)
    assert set(tree.videos) == {A, B} and not tree.frames


def test_link_to_a_folder_around_it_ends(tmp_path: Path) -> None:
    touch(tmp_path / f"videos/{A}.mp4")
    (tmp_path / "videos/again").symlink_to(tmp_path)
    assert scan_ava(tmp_path).videos == {A: [f"videos/{A}.mp4"]}


# ------------------------------------------------------------------------------------------- lists
def test_published_names_are_found_in_the_examples() -> None:
    files = find_files(
        scan_ava(FORMATS),
        version="2.2",
        detections=Path("slowfast/ava_val_predicted_boxes.csv"),
    )
    found = {what: str(p.relative_to(FORMATS)) for what, p in vars(files).items() if p is not None}
    assert found == {
        "ground_truth_train": "ava_train_v2.2.csv",
        "ground_truth": "ava_val_v2.2.csv",
        "excluded": "ava_val_excluded_timestamps_v2.2.csv",
        "included": "ava_included_timestamps_v2.2.txt",
        "action_list": "ava_action_list_v2.2.pbtxt",
        "label_map": "ava_action_list_v2.2_for_activitynet_2019.pbtxt",
        "detections": "slowfast/ava_val_predicted_boxes.csv",
        "images": "alphaction_videomae/ava_val_v2.2_min.json",
    }


def test_several_files_of_boxes_need_a_choice(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    touch(root / "annotations" / SLOWFAST, FOUND + "ddddddddddd,0903,0,0,1,1,,1\n")
    with pytest.raises(
        DataError, match=r"2 files that may be the detections.*task.detections=FILE"
    ):
        ava(data=root)
    assert len(ava(data=root, detections=Path("annotations", SLOWFAST)).score) == 4
    assert len(ava(data=root, detections=root / "annotations" / SLOWFAST).score) == 4
    touch(root / "annotations" / SLOWFAST, FOUND)
    assert len(ava(data=root).score) == 3, "the same bytes are the same boxes"


def test_two_ground_truths_that_differ_need_a_choice(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    touch(root / "old/ava_val_v2.2.csv", "ddddddddddd,0902,0.1,0.1,0.5,0.5,12,0\n")
    with pytest.raises(DataError, match=r"2 files that may be the ground truth.*task.annotations"):
        ava(data=root)
    assert len(ava(data=root, annotations=Path("annotations")).truth.boxes) == 5


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ava_val_v2.2.csv", r"has no ava_val_v2.2.csv, .*pass the folder of AVA as --data"),
        ("ava_val_predicted_boxes.csv", r"has none of ava_val_predicted_.*task.detections=FILE"),
    ],
)
def test_missing_lists_are_named(tmp_path: Path, name: str, said: str) -> None:
    root = write_tree(tmp_path)
    (root / "annotations" / name).unlink()
    with pytest.raises(DataError, match=said):
        ava(data=root)


def test_only_proposals_in_a_pickle_are_refused_with_the_way_out(tmp_path: Path) -> None:
    root = write_tree(tmp_path, ava_val_predicted_boxes_csv=None)
    touch(root / "annotations/ava_dense_proposals_val.FAIR.recall_93.9.pkl", "(dp0\n.")
    with pytest.raises(DataError, match=r"recall_93.9.pkl is a pickle.*json.dump"):
        ava(data=root)


def test_version_2_1_reads_its_own_lists(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    for path in sorted((root / "annotations").glob("*v2.2*")):
        path.rename(path.with_name(path.name.replace("v2.2", "v2.1")))
    with pytest.raises(DataError, match=r"has no ava_train_v2.2.csv"):
        ava(data=root)
    task = ava(data=root, version="2.1")
    assert (len(task.fit), task.title) == (4, "AVA v2.1 actions")


def test_lists_deeper_than_four_folders_are_not_found(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    (root / "annotations").rename(root / "moved")
    (root / "1/2/3").mkdir(parents=True)
    (root / "moved").rename(root / "1/2/3/4")
    assert len(ava(data=root).fit) == 4
    (root / "1/2/3/4").rename(root / "1/2/3/x")
    (root / "1/2/3/5").mkdir()
    (root / "1/2/3/x").rename(root / "1/2/3/5/6")
    with pytest.raises(DataError, match="has no ava_train"):
        ava(data=root)


def test_wrong_list_of_seconds_is_named(tmp_path: Path) -> None:
    assert read_seconds(touch(tmp_path / "s.txt", "0902\n903\n")) == {902_000_000, 903_000_000}
    mixed = touch(tmp_path / "s.txt", "\ufeff0902\r\n\r\n903.5 \r\n\r\n")
    assert read_seconds(mixed) == {902_000_000, 903_500_000}
    with pytest.raises(DataError, match=r"s.txt, line 2: the timestamp 'x' is not a number"):
        read_seconds(touch(tmp_path / "s.txt", "0902\nx\n"))
    with pytest.raises(DataError, match="is empty"):
        read_seconds(touch(tmp_path / "s.txt", ""))


# -------------------------------------------------------------------------------- shipped classes
def test_shipped_classes_are_the_published_ones() -> None:
    known, scored = shipped_classes()
    assert list(known) == list(range(1, 81))
    evaluated = (
        "1 3 4 5 6 7 8 9 10 11 12 13 14 15 17 20 22 24 26 27 28 29 30 34 36 37 38 41 43 45 46 47 48"
        " 49 51 52 54 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 72 73 74 76 77 78 79 80"
    )
    assert list(scored) == [int(text) for text in evaluated.split()]
    assert all(known[number] == name for number, name in scored.items())
    assert len(set(known.values())) == 80
    assert all(re.fullmatch(r"[a-z].*[a-z)]", name, re.IGNORECASE) for name in known.values())
    examples = {**read_action_list(FORMATS / "ava_action_list_v2.2.pbtxt")}
    examples |= read_action_list(FORMATS / "ava_action_list_v2.2_for_activitynet_2019.pbtxt")
    assert {number: known[number] for number in examples} == examples
    assert (known[12], known[79]) == ("stand", "talk to (e.g., self, a person, a group)")
