"""UCF101: an order that is not sorted, three splits, lists with and without numbers."""

from pathlib import Path

import pytest

from bench.data.discover.label_map import LabelMap
from bench.errors import DataError, UsageError
from tasks.ucf101 import SIZES, UCF101, read, ucf101
from tests.tasks.video_trees import FORMATS, copy, look, plant, write

TRAIN = {
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi": 0,
    "Hammering/v_Hammering_g09_c02.avi": 34,
    "HammerThrow/v_HammerThrow_g10_c01.avi": 35,
    "HandstandPushups/v_HandStandPushups_g08_c01.avi": 36,
    "YoYo/v_YoYo_g25_c05.avi": 100,
}
TEST = {
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi": 0,
    "HandstandPushups/v_HandStandPushups_g01_c01.avi": 36,
    "YoYo/v_YoYo_g01_c01.avi": 100,
}


@pytest.mark.parametrize(("split", "rows"), [("trainlist01", TRAIN), ("testlist01", TEST)])
def test_golden_lists_follow_class_ind(tmp_path: Path, split: str, rows: dict[str, int]) -> None:
    folder = copy("ucf101/ucfTrainTestlist", tmp_path)
    tree = look(tmp_path)
    assert tree.find(*UCF101.patterns[split]) == [folder / f"{split}.txt"]
    listed = read(folder / f"{split}.txt", split, tree, UCF101.labels)
    assert dict(zip(listed.names, listed.labels.tolist(), strict=True)) == rows


def test_golden_list_of_mmaction2_counts_from_0(tmp_path: Path) -> None:
    copy("ucf101/mmaction2", tmp_path)
    tree = look(tmp_path)
    (path,) = tree.find(*UCF101.patterns["trainlist01"])
    listed = read(path, "trainlist01", tree, UCF101.labels)
    assert listed.labels.tolist() == [0, 36]
    assert UCF101.sample_id(listed.names[1]) == "v_HandStandPushups_g08_c01"


def test_lists_without_folders_and_of_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "v_YoYo_g01_c01.avi 100\nv_Hammering_g09_c02.avi 34\n")
    assert read(path, "trainlist01", look(tmp_path), UCF101.labels).labels.tolist() == [100, 34]
    write(path, "YoYo/v_YoYo_g01_c01 120 100\nHammering/v_Hammering_g09_c02 77 34\n")
    listed = read(path, "trainlist01", look(tmp_path), UCF101.labels)
    assert list(listed.names) == ["YoYo/v_YoYo_g01_c01", "Hammering/v_Hammering_g09_c02"]
    assert listed.labels.tolist() == [100, 34]


def test_shipped_order_is_not_that_of_sorted_folders() -> None:
    names = list(UCF101.labels.names)
    assert len(names) == 101
    assert names[34:37] == ["Hammering", "HammerThrow", "HandstandPushups"]
    assert names[46:48] == ["JumpingJack", "JumpRope"]
    order = sorted(names)
    moved = {i for i, (a, b) in enumerate(zip(names, order, strict=True)) if a != b}
    assert moved == {34, 35, 46, 47}


def test_numbers_of_sorted_folders_are_refused(tmp_path: Path) -> None:
    lines = "YoYo/v_YoYo_g01_c01.avi 100\nHammering/v_Hammering_g09_c02.avi 35\n"
    path = write(tmp_path / "mine.txt", lines)
    with pytest.raises(DataError, match=r"line 2: the number 35 .* 'Hammering', 34"):
        read(path, "trainlist01", look(tmp_path), UCF101.labels)
    write(path, "YoYo/v_YoYo_g01_c01.avi 102\n")
    with pytest.raises(DataError, match=r"line 1: the number 102"):
        read(path, "trainlist01", look(tmp_path), UCF101.labels)
    write(path, lines)
    by_name = LabelMap(names=sorted(UCF101.labels.names), source="test")
    assert read(path, "trainlist01", look(tmp_path), by_name).labels.tolist() == [100, 35]


def test_class_ind_in_another_order_is_refused(tmp_path: Path) -> None:
    folder = copy("ucf101/ucfTrainTestlist", tmp_path)
    write(folder / "classInd.txt", "1 ApplyEyeMakeup\r\n35 HammerThrow\r\n")
    with pytest.raises(
        DataError, match=r"classInd\.txt gives the class 'HammerThrow' the index 34"
    ):
        read(folder / "testlist01.txt", "testlist01", look(tmp_path), UCF101.labels)
    write(folder / "classInd.txt", "ApplyEyeMakeup\n")
    with pytest.raises(DataError, match="line 1: expected `1 ApplyEyeMakeup`"):
        read(folder / "testlist01.txt", "testlist01", look(tmp_path), UCF101.labels)


def test_splits_have_their_own_lists_and_sizes() -> None:
    assert [sum(SIZES[k]) for k in (1, 2, 3)] == [13_320] * 3
    assert UCF101.sizes["trainlist03"] == {"published": 9_624}
    lists = UCF101.patterns["testlist03"][1:3]
    assert lists == ("testlist03.txt", "ucf101_val_split_3_videos.txt")
    with pytest.raises(UsageError, match="splits 1, 2 and 3"):
        ucf101(split=4)


def test_list_of_another_split_is_refused(tmp_path: Path) -> None:
    for name in ("testlist02.txt", "ucf101_val_split_2_videos.txt"):
        path = write(tmp_path / name, "YoYo/v_YoYo_g01_c01.avi\n")
        with pytest.raises(DataError, match=r"split 2, but .*task\.split=2"):
            read(path, "testlist01", look(tmp_path), UCF101.labels)
        assert len(read(path, "testlist02", look(tmp_path), UCF101.labels).names) == 1


def test_other_files_are_left_to_the_general_reader(tmp_path: Path) -> None:
    tree = look(tmp_path)
    for text in ("clip.avi 3\n", "path,label\n", "YoYo/v_YoYo_g01_c01.avi,100\n", ""):
        assert read(write(tmp_path / "x.txt", text), "trainlist01", tree, UCF101.labels) is None
    path = write(tmp_path / "x.txt", "YoYo/v_YoYo_g01_c01.avi\nclip.avi\n")
    with pytest.raises(DataError, match=r"line 2: 'clip\.avi' contains no class"):
        read(path, "trainlist01", tree, UCF101.labels)
    assert b"\r\n" in (FORMATS / "ucf101/ucfTrainTestlist/testlist01.txt").read_bytes()


def test_golden_lists_beside_the_folder_of_videos(tmp_path: Path) -> None:
    root = plant(tmp_path, *(f"UCF-101/{name}" for name in (*TRAIN, *TEST)))
    copy("ucf101/ucfTrainTestlist", root)
    official = ucf101(data=root)
    assert official.fit.layout == "list of class/file with numbers; files"
    assert dict(zip(official.score.ids, official.score.labels.tolist(), strict=True)) == {
        UCF101.sample_id(name): label for name, label in TEST.items()
    }
    lists = plant(tmp_path / "mmaction2", *(f"videos/{name}" for name in (*TRAIN, *TEST)))
    for part, rows in (("train", TRAIN), ("val", TEST)):
        lines = "".join(f"{name} {label}\n" for name, label in rows.items())
        write(lists / f"ucf101_{part}_split_1_videos.txt", lines)
    other = ucf101(data=lists)
    assert (other.fit.digest, other.score.digest) == (official.fit.digest, official.score.digest)


def test_lists_of_another_split_are_not_taken_for_want_of_the_first(tmp_path: Path) -> None:
    root = plant(tmp_path, *(f"videos/{name}" for name in (*TRAIN, *TEST)))
    for part, rows in (("train", TRAIN), ("val", TEST)):
        lines = "".join(f"{name} {label}\n" for name, label in rows.items())
        write(root / f"ucf101_{part}_split_2_videos.txt", lines)
    with pytest.raises(DataError, match="trainlist01: found neither lists nor"):
        ucf101(data=root)
    assert len(ucf101(data=root, split=2).fit) == len(TRAIN)
