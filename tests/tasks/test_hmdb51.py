"""HMDB51: a list for every class, numbers 0 to 2, and odd file names."""

from pathlib import Path

import pytest

from bench.data.discover.label_map import LabelMap
from bench.errors import DataError, UsageError
from tasks.hmdb51 import HMDB51, hmdb51, read
from tests.tasks.video_trees import copy, look, plant, write

TWO = LabelMap(names=["brush_hair", "wave"], source="golden")
TRAIN = [
    "brush_hair/MadeUp_April_09_brush_hair_u_nm_np1_ba_goo_0.avi",
    "wave/MadeUp&Friends_wave_u_cm_np1_ri_bad_1.avi",
]
TEST = [
    "brush_hair/#20_MadeUp_Movie_brush_hair_h_nm_np1_ba_med_0.avi",
    "wave/madeup20060723_wave_f_cm_np1_ba_med_0.avi",
]


@pytest.mark.parametrize(("split", "names"), [("train_split1", TRAIN), ("test_split1", TEST)])
def test_golden_lists_are_read_class_by_class_without_zeros(
    tmp_path: Path, split: str, names: list[str]
) -> None:
    copy("hmdb51/testTrainMulti_7030_splits", tmp_path)
    tree = look(tmp_path)
    for path in tree.find(*HMDB51.patterns[split]):
        listed = read(path, split, tree, TWO)
        assert (list(listed.names), listed.labels.tolist()) == (names, [0, 1])
        assert not listed.excluded


def test_golden_list_of_mmaction2(tmp_path: Path) -> None:
    copy("hmdb51/mmaction2", tmp_path)
    tree = look(tmp_path)
    (path,) = tree.find(*HMDB51.patterns["train_split1"])
    listed = read(path, "train_split1", tree, HMDB51.labels)
    assert (list(listed.names), listed.labels.tolist()) == (TRAIN, [0, 50])


def test_number_of_lists_is_told(tmp_path: Path) -> None:
    folder = copy("hmdb51/testTrainMulti_7030_splits", tmp_path)
    path = folder / "wave_test_split1.txt"
    listed = read(path, "train_split1", look(tmp_path), HMDB51.labels)
    assert (listed.layout, listed.labels.tolist()) == ("HMDB51 lists of 2 classes", [0, 50])
    for name in HMDB51.labels.names:
        write(folder / f"{name}_test_split1.txt", f"x_{name[:3]}.avi 1 \r\n")
    listed = read(path, "train_split1", look(tmp_path), HMDB51.labels)
    assert listed.layout == "HMDB51 lists of 51 classes"
    assert sorted(listed.labels.tolist()) == list(range(51))
    with pytest.raises(
        DataError, match=r"no line of the lists \*_test_split1\.txt has the number 2"
    ):
        read(path, "test_split1", look(tmp_path), HMDB51.labels)


def test_odd_file_names_keep_their_signs(tmp_path: Path) -> None:
    odd = "#&!();[] a_wave_u_cm_np1_ri_bad_1.avi"
    write(tmp_path / "wave_test_split2.txt", f"{odd} 2 \nb_wave.avi 1\nc_wave.avi 0 \n")
    path = write(tmp_path / "brush_hair_test_split2.txt", "d_brush_hair.avi 2")
    listed = read(path, "test_split2", look(tmp_path), TWO)
    assert list(listed.names) == ["brush_hair/d_brush_hair.avi", f"wave/{odd}"]
    plant(tmp_path, f"wave/{odd}")
    assert HMDB51.keys(look(tmp_path).names[0])[0] == HMDB51.keys(listed.names[1])[0]


def test_line_without_number_is_named(tmp_path: Path) -> None:
    write(tmp_path / "brush_hair_test_split1.txt", "a.avi 1\n")
    path = write(tmp_path / "wave_test_split1.txt", "b.avi 1\nc.avi 3\n")
    with pytest.raises(DataError, match=r"wave_test_split1\.txt, line 2: expected .* 0, 1 or 2"):
        read(path, "train_split1", look(tmp_path), TWO)


def test_list_of_another_split_or_class_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "wave_test_split2.txt", "a.avi 2\n")
    with pytest.raises(DataError, match=r"split 2, but .*task\.split=2"):
        read(path, "test_split1", look(tmp_path), TWO)
    path = write(tmp_path / "wavy_test_split1.txt", "a.avi 2\n")
    with pytest.raises(DataError, match=r"'wavy' is none of the 2 classes.*Did you mean 'wave'"):
        read(path, "test_split1", look(tmp_path), TWO)
    with pytest.raises(UsageError, match="splits 1, 2 and 3"):
        hmdb51(split=0)


def test_shipped_order_is_alphabetical() -> None:
    names = list(HMDB51.labels.names)
    assert (len(names), names[0], names[-1]) == (51, "brush_hair", "wave")
    assert names == sorted(names)


def test_other_files_are_left_to_the_general_reader(tmp_path: Path) -> None:
    tree = look(tmp_path)
    for line in ("clip.avi 3", "data/clip.avi 3", "path,label", "wave/x.avi,50"):
        path = write(tmp_path / "x.txt", f"{line}\n")
        assert read(path, "train_split1", tree, HMDB51.labels) is None
    path = write(tmp_path / "x.txt", "wave/x.avi 50\nwavy/x.avi 50\n")
    with pytest.raises(DataError, match=r"line 2: 'wavy/x\.avi' contains no class"):
        read(path, "train_split1", tree, HMDB51.labels)


def test_golden_lists_beside_the_folder_of_videos(tmp_path: Path) -> None:
    root = plant(tmp_path, *(f"hmdb51/{name}" for name in (*TRAIN, *TEST)))
    copy("hmdb51/testTrainMulti_7030_splits", root)
    plant(root, "hmdb51/brush_hair/Made_Up_(extra)_brush_hair_u_cm_np2_le_goo_1.avi")
    task = hmdb51(data=root)
    assert task.fit.layout == "HMDB51 lists of 2 classes; files"
    for manifest, names in ((task.fit, TRAIN), (task.score, TEST)):
        assert set(manifest.ids) == {HMDB51.sample_id(name) for name in names}
        assert all(path.is_file() for path in manifest.media)
        assert not manifest.excluded
