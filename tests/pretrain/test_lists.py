"""Lists, folders and tasks become one column of paths, with sizes, weights and a digest."""

import pickle
import shutil
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

from bench import registry
from bench.data.media.media import FrameFolder
from bench.errors import DataError, UsageError
from bench.pretrain.lists import read_lists


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def write(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.parametrize(
    "lines",
    [
        ("b.mp4 3", "a/a.mp4 0", "c d.png 1"),
        ("b.mp4", "a/a.mp4", "c d.png"),
        ("path", "./b.mp4", "a/a.mp4", '"c d.png"'),
        ("file,class", "b.mp4,run", "a/a.mp4,sit", "c d.png,run"),
        ("\ufeffb.mp4\r", "a/a.mp4\r", "c d.png\r"),
    ],
    ids=["labelled", "bare", "header", "table", "bom"],
)
def test_rows_keep_the_order_of_the_list_whatever_its_layout(
    tmp_path: Path, lines: tuple[str, ...]
) -> None:
    touch(tmp_path, "b.mp4", "a/a.mp4", "c d.png")
    lists = read_lists([write(tmp_path / "list.csv", *lines)], None)
    assert list(lists.paths) == [tmp_path / name for name in ("b.mp4", "a/a.mp4", "c d.png")]
    assert lists.sizes == (3,) and len(lists) == 3 and lists.weights is None


def test_json_lines_are_read_too(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4")
    spec = write(tmp_path / "list.jsonl", '{"path": "b.mp4", "label": 1}')
    assert list(read_lists([spec], None).paths) == [tmp_path / "b.mp4"]


def test_a_folder_gives_all_media_below_it_sorted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = touch(
        tmp_path / "set", "b/x.mp4", "a.webm", "b/c/y.JPG", "notes.txt", ".h.mp4", "a/z.ts"
    )
    (root / "b" / "linked").symlink_to(touch(tmp_path / "elsewhere", "w.mp4"))
    paths = read_lists([str(root)], None).paths
    names = ["a.webm", "a/z.ts", "b/c/y.JPG", "b/linked/w.mp4", "b/x.mp4"]
    assert list(paths) == [root / name for name in names]
    (root / "b" / "circle").symlink_to(root)
    (root / "b" / "clip.xyz").touch()
    assert list(read_lists([str(root)], None).paths) == [root / name for name in names]
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "1 not read (link to a folder that contains it): b/circle",
        "1 not read (unknown extension): b/clip.xyz",
    ]


def test_lists_stand_one_after_the_other(tmp_path: Path) -> None:
    touch(tmp_path / "one", "b.mp4", "a.mp4")
    touch(tmp_path / "two", "ü.mp4")
    bare = write(tmp_path / "one" / "list.txt", "b.mp4", "a.mp4")
    lists = read_lists([bare, str(tmp_path / "two"), bare], None)
    assert lists.sizes == (2, 1, 2) and len(lists.paths) == 5
    b, a = tmp_path / "one" / "b.mp4", tmp_path / "one" / "a.mp4"
    assert list(lists.paths) == [b, a, tmp_path / "two" / "ü.mp4", b, a]
    assert lists.paths[-1] == a and lists.paths[1:3] == [a, tmp_path / "two" / "ü.mp4"]
    with pytest.raises(IndexError):
        lists.paths[5]


def test_relative_names_fall_back_to_the_data_folder(tmp_path: Path) -> None:
    data = touch(tmp_path / "media", "a.mp4", "b.mp4")
    spec = write(tmp_path / "list.txt", "gone.mp4", "a.mp4", "b.mp4")
    assert read_lists([spec], data).paths[1] == data / "a.mp4"
    with pytest.raises(DataError, match=r"none of 3 names .* 'gone.mp4'\); give .* --data"):
        read_lists([spec], None)
    touch(tmp_path, "b.mp4")  # beside the list goes first
    assert read_lists([spec], data).paths[2] == tmp_path / "b.mp4"


def test_weights_stand_behind_the_last_equals_sign(tmp_path: Path) -> None:
    touch(tmp_path / "fold=3", "a.mp4")
    touch(tmp_path / "x", "a.mp4")
    lists = read_lists([f"{tmp_path}/fold=3=0.25", f"{tmp_path}/x=2"], None)
    assert lists.weights == (0.25, 2.0)
    assert lists.names == (f"{tmp_path}/fold=3", f"{tmp_path}/x")
    assert lists.paths[0] == tmp_path / "fold=3" / "a.mp4"
    # A path that exists is never split.
    assert read_lists([f"{tmp_path}/fold=3"], None).weights is None
    with pytest.raises(UsageError, match=r"fold=3' has no weight but others do"):
        read_lists([f"{tmp_path}/fold=3", f"{tmp_path}/x=2"], None)
    for weight in ("0", "-1", "nan", "inf"):
        with pytest.raises(UsageError, match=f"the weight {weight} must be a number above 0"):
            read_lists([f"{tmp_path}/x={weight}"], None)


def test_a_task_gives_its_training_split(tmp_path: Path) -> None:
    touch(tmp_path, "train/run/b.mp4", "train/jump/a.mp4", "val/run/c.mp4")
    lists = read_lists(["task:folder=1.5"], tmp_path)
    assert list(lists.paths) == [tmp_path / "train/jump/a.mp4", tmp_path / "train/run/b.mp4"]
    assert lists.weights == (1.5,) and lists.names == ("task:folder",)
    with pytest.raises(UsageError, match=r"no task 'foldr'.*Did you mean 'folder'"):
        read_lists(["task:foldr"], tmp_path)
    with pytest.raises(UsageError, match="--data"):
        read_lists(["task:folder"], None)


def test_a_task_of_frame_folders_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "train/run/b.mp4", "train/jump/a.mp4", "val/run/c.mp4")
    built = registry.build("tasks", "folder", {"data": tmp_path})
    media = [FrameFolder(tmp_path / "clip"), *built.fit.media[1:]]
    framed = replace(built, fit=replace(built.fit, media=media))
    monkeypatch.setattr(registry, "build", lambda *_: framed)
    with pytest.raises(DataError, match=r"task:folder: 1 of 2 .* are folders of frames"):
        read_lists(["task:folder"], tmp_path)


def test_the_digest_follows_names_sizes_and_weights_but_not_the_place(tmp_path: Path) -> None:
    one = touch(tmp_path / "one", "a.mp4", "b/c.mp4")
    two = tmp_path / "two"
    shutil.copytree(one, two)
    absolute = write(tmp_path / "abs.txt", str(two / "a.mp4"), str(two / "b/c.mp4"))
    digests = [read_lists([spec], None).digest for spec in (str(one), str(two), absolute)]
    assert len(set(digests)) == 1 and len(digests[0]) == 64
    turned = write(one / "list.txt", "b/c.mp4", "a.mp4")
    others = [[turned], [f"{one}=1"], [f"{one}=2"], [str(one), str(one)], [str(one / "b")]]
    digests += [read_lists(specs, None).digest for specs in others]
    assert len(set(digests)) == 1 + len(others)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ((), r"is empty"),
        (("path",), r"is empty"),
        (("a.mp4", "b.mp4 1"), r"line 2: 'b.mp4 1' does not end in a known extension"),
        (("a.mp4 1", "b.mp4"), r"line 2: no label found"),
        (("a 1", "b 2"), r"line 1: 'a' does not end in a known extension"),
    ],
)
def test_a_list_that_cannot_be_read_is_a_sentence(
    tmp_path: Path, lines: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "list.txt").write_text("".join(line + "\n" for line in lines))
    with pytest.raises(DataError, match=rf"list\.txt.*{sentence}"):
        read_lists([str(tmp_path / "list.txt")], None)


def test_missing_lists_and_folders_without_media_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no list or folder 'nowhere/list.csv'"):
        read_lists(["nowhere/list.csv=3"], None)
    with pytest.raises(DataError, match=r"has no videos or images"):
        read_lists([str(touch(tmp_path, "notes.txt"))], None)
    with pytest.raises(UsageError, match="nothing to train on"):
        read_lists([], None)


def test_paths_are_shared_with_processes_that_are_not_forked(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{'long' * 20}{number}.mp4" for number in range(300)))
    paths = read_lists([str(tmp_path)], None).paths
    sent = ForkingPickler.dumps(paths)  # as multiprocessing hands a data set to its workers
    assert len(sent) < 2000
    assert list(pickle.loads(sent)) == list(paths)


def test_a_path_of_millions_is_found_by_its_row(tmp_path: Path) -> None:
    touch(tmp_path, "v/0.mp4")
    count = 200_000
    (tmp_path / "list.txt").write_text("".join(f"v/{number}.mp4\n" for number in range(count)))
    paths = read_lists([str(tmp_path / "list.txt")], None).paths
    for row in np.random.default_rng(0).integers(count, size=50).tolist():
        assert paths[row] == tmp_path / "v" / f"{row}.mp4"
