"""The two tasks without code: class folders and lists."""

from pathlib import Path

import pytest
from PIL import Image

from bench.errors import DataError, UsageError
from bench.registry import build
from bench.types import ClipPlan
from tasks.folder import folder
from tasks.listing import listing


def own(tmp_path: Path, *files: str) -> Path:
    """Make a data folder: real images, and videos that nothing here decodes."""
    for number, name in enumerate(files):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            Image.new("RGB", (3, 2), (number, 0, 0)).save(path)
        else:
            path.write_bytes(b"video")
    return tmp_path


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


# ----------------------------------------------------------------------------------------- folder
def test_folder_task_of_videos(tmp_path: Path) -> None:
    data = own(tmp_path, "train/run/1.mp4", "train/walk/2.mp4", "val/walk/1.webm")
    task = folder(data=data, plan="8x2x3@2", flip=False)
    assert (task.name, task.kind, task.flip, task.metric) == ("folder", "video", False, "top1")
    assert list(task.classes) == list(task.score.classes) == ["run", "walk"]
    assert task.score.labels.tolist() == [1]
    assert task.score_plan == ClipPlan.parse("8x2x3@2")
    assert task.fit_plan == ClipPlan.parse("8x2x1@2")


def test_folder_task_of_images_repeats_the_still(tmp_path: Path) -> None:
    data = own(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/2.png")
    task = folder(data=data)
    still = ClipPlan(num_frames=16, num_clips=1, num_views=1, stride=0)
    assert (task.kind, task.fit_plan, task.score_plan) == ("image", still, still)
    assert Image.open(task.fit.media[0]).size == (3, 2)
    with pytest.raises(UsageError, match="no clips"):
        folder(data=data, plan="16x8x3@4")


def test_class_that_training_lacks_is_refused(tmp_path: Path) -> None:
    data = own(tmp_path, "train/run/1.mp4", "train/walk/2.mp4", "val/runs/1.mp4")
    with pytest.raises(DataError, match=r"'runs'.*Did you mean 'run'"):
        folder(data=data)


def test_missing_split_lists_the_folders_and_the_option(tmp_path: Path) -> None:
    data = own(tmp_path, "train/run/1.mp4", "validation/run/1.mp4", ".cache/x.mp4")
    with pytest.raises(DataError, match=r"found train, validation.*task.val=validation"):
        folder(data=data)
    assert len(folder(data=data, val="validation").score) == 1


def test_missing_data_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.*--data"):
        folder(data=tmp_path / "nowhere")
    with pytest.raises(UsageError, match="--data"):
        folder()


def test_videos_and_images_are_not_one_task(tmp_path: Path) -> None:
    data = own(tmp_path, "train/run/1.mp4", "val/run/1.png")
    with pytest.raises(DataError, match="training split has videos"):
        folder(data=data)


def test_fraction_cuts_training_only_and_keeps_its_features(tmp_path: Path) -> None:
    files = [f"train/{label}/{i}.mp4" for label in "ab" for i in range(10)]
    data = own(tmp_path, *files, "val/a/1.mp4", "val/b/1.mp4")
    full = folder(data=data)
    some = folder(data=data, fraction=0.5, draw=1)
    few = folder(data=data, fraction=0.1, draw=1)
    assert (len(full.fit), len(some.fit), len(few.fit)) == (20, 10, 2)
    assert few.fit.labels.tolist() == [0, 1]
    assert set(few.fit.ids) < set(some.fit.ids)
    assert few.fit.root.digest == full.fit.digest
    assert few.score.digest == full.score.digest
    assert (few.options["fraction"], few.options["draw"], few.options["rows"]) == (0.1, 1, 2)


def test_shots_and_lists_cut_the_training_of_folders_and_lists(tmp_path: Path) -> None:
    files = [f"train/{label}/{label}{i}.mp4" for label in "ab" for i in range(5)]
    data = own(tmp_path, *files, "val/a/1.mp4", "val/b/1.mp4")
    chosen = text(tmp_path / "chosen.txt", "b4\na0.mp4\n")
    train = text(tmp_path / "train.csv", "".join(f"{f} {'ab'.index(f[6])}\n" for f in files))
    val = text(tmp_path / "val.csv", "val/a/1.mp4 0\nval/b/1.mp4 1\n")
    for build_task in (folder, lambda **how: listing(**{**how, "train": train, "val": val})):
        shot = build_task(data=data, shots=2, draw=1)
        assert shot.fit.labels.tolist() == [0, 0, 1, 1] and shot.options["shots"] == 2
        listed = build_task(data=data, subset=chosen)
        assert [sample[-6:] for sample in listed.fit.ids] == ["a0.mp4", "b4.mp4"]
        assert listed.options["rows"] == 2 and len(listed.score) == 2


# ---------------------------------------------------------------------------------------- listing
def test_classes_of_lists_of_integers_are_those_of_both(tmp_path: Path) -> None:
    train = text(tmp_path / "train.csv", "a.mp4 0\nb.mp4 1\n")
    val = text(tmp_path / "val.csv", "c.mp4 3\na.mp4 0\n")
    task = listing(train=train, val=val)
    assert task.name == "listing"
    assert list(task.fit.classes) == list(task.score.classes) == ["0", "1", "3"]
    assert task.score.labels.tolist() == [2, 0]
    assert task.options["rows_in_both_splits"] == 1


def test_lists_that_count_from_one_share_their_classes(tmp_path: Path) -> None:
    train = text(tmp_path / "train.csv", "".join(f"{n}.mp4 {n}\n" for n in range(1, 6)))
    val = text(tmp_path / "val.csv", "c.mp4 2\nd.mp4 4\n")  # each also the index of a class
    task = listing(train=train, val=val)
    assert list(task.score.classes) == ["1", "2", "3", "4", "5"]
    assert task.score.labels.tolist() == [1, 3]


def test_listing_task_maps_by_name(tmp_path: Path) -> None:
    train = text(tmp_path / "train.csv", "path,label\na.mp4,walk\nb.mp4,run\n")
    val = text(tmp_path / "val.txt", "c.mp4 walk\n")
    task = listing(train=train, val=val, data=tmp_path)
    assert list(task.score.classes) == ["run", "walk"]
    assert task.score.labels.tolist() == [1]
    assert task.score.media[0] == tmp_path / "c.mp4"


def test_name_that_training_lacks_is_refused_by_line(tmp_path: Path) -> None:
    train = text(tmp_path / "train.csv", "a.mp4 walk\nb.mp4 run\n")
    val = text(tmp_path / "val.csv", "c.mp4 walk\nd.mp4 runn\n")
    with pytest.raises(DataError, match=r"val.csv, line 2.*Did you mean 'run'"):
        listing(train=train, val=val)


def test_names_and_integers_need_the_list_of_classes(tmp_path: Path) -> None:
    train = text(tmp_path / "train.csv", "a.mp4 walk\nb.mp4 run\n")
    val = text(tmp_path / "val.csv", "c.mp4 0\n")
    with pytest.raises(DataError, match=r"names in .*train.csv but integers in .*val.csv"):
        listing(train=train, val=val)
    classes = text(tmp_path / "classes.txt", "walk\nrun\n")
    task = listing(train=train, val=val, classes=classes)
    assert task.fit.labels.tolist() == [0, 1]
    assert task.score.classes[task.score.labels[0]] == "walk"


def test_missing_media_folder_is_named(tmp_path: Path) -> None:
    train = text(tmp_path / "train.csv", "a.mp4 0\n")
    with pytest.raises(DataError, match=r"nowhere.*--data"):
        listing(train=train, val=train, data=tmp_path / "nowhere")


def test_own_data_tasks_are_registered_with_text_options(tmp_path: Path) -> None:
    data = own(tmp_path, "train/a/1.mp4", "train/a/2.mp4", "val/a/3.mp4")
    options = {"data": str(data), "fraction": "0.5", "draw": "1", "flip": "no"}
    task = build("tasks", "folder", options)
    assert (len(task.fit), task.flip) == (1, False)
    with pytest.raises(UsageError, match="needs the option 'train'"):
        build("tasks", "listing", {})
