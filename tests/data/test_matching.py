"""Which file belongs to a listed name: rules by hand, and against a plain search of all pairs."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.discover.dataset import DataSet, default_keys, stem
from bench.data.discover.folder_scan import Tree
from bench.data.discover.label_map import LabelMap
from bench.data.discover.matching import match
from bench.data.discover.split_words import split_folder, splits_named
from bench.data.media.media import MediaColumn
from bench.errors import DataError

WORDS = {"train": ("train",), "val": ("val", "validation"), "mini": ("train_mini",)}


def short(name: str) -> str:
    """The id of a sample: what stands before the first `_` of its file name."""
    return stem(name).split("_")[0]


def made(**options: Any) -> DataSet:
    return DataSet(
        **{
            "name": "made",
            "title": "Made up",
            "kind": "video",
            "labels": LabelMap(names=["a", "b"], source="here"),
            "words": WORDS,
            "sizes": {},
            "patterns": {},
            "read": lambda *_: None,
            "keys": lambda name: (*default_keys(name), short(name)),
            "sample_id": short,
            "prefer": ("fixed",),
            **options,
        }
    )


def tree(*names: str, root: Path = Path("/made")) -> Tree:
    return Tree(
        root=root,
        kind="video",
        others=(),
        media=MediaColumn.of_files(root, names),
        names=names,
        labels=[None] * len(names),
    )


def found(listed: str | Sequence[str], *names: str, split: str = "train", **options: Any) -> Any:
    """Return the media found for listed names (of one name: the medium)."""
    dataset, listing = made(**options), [listed] if isinstance(listed, str) else listed
    ids = [dataset.sample_id(name) for name in listing]
    rows = match(dataset, split, tree(*names), listing, ids)
    media = [None if row < 0 else names[row] for row in rows.tolist()]
    return media[0] if isinstance(listed, str) else media


# ------------------------------------------------------------------------------------- what fits
@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ("a/x_1.mp4", "a/x_1.mp4"),
        ("a/x_1.mp4", "deep/er/a/x_1.webm"),
        ("/data/elsewhere/a/x_1.mp4", "b/x_1.MP4"),
        ("x_1", "b/x_1"),
        ("x_1.mp4", "b/x.mkv"),
        ("x.mp4", "b/x_9.mkv"),
        ("Mr._Bean.1.avi", "Mr._Bean.1.mp4"),
    ],
)
def test_a_listed_name_finds_its_file(listed: str, name: str) -> None:
    assert found(listed, "c/other_1.mp4", name) == name


@pytest.mark.parametrize("name", ["ax_1.mp4", "a/yx_1.mp4", "x_1/y.mp4", "xx.mp4"])
def test_parts_of_names_do_not_fit(name: str) -> None:
    assert found("x_1.mp4", name) is None


def test_names_find_nothing_in_an_empty_tree() -> None:
    assert found(["x_1", "y_1"]) == [None, None]


# ------------------------------------------------------------------------------------ several fit
@pytest.mark.parametrize(
    ("better", "worse", "why"),
    [
        ("z/y/fixed_clips/x.mp4", "train/a/x_1.mp4", "a folder of replacements goes first"),
        ("q/r/s/a/x_1.mp4", "train/x_1.mp4", "then the better key"),
        ("q/r/train_256/a/x_1.mp4", "a/x_1.mp4", "then the folder of the split"),
        ("q/a/x_1.mp4", "q/r/a/x_1.mp4", "then the folder nearest to the root"),
    ],
)
def test_of_two_files_the_better_is_taken(better: str, worse: str, why: str) -> None:
    assert found("a/x_1.mp4", better, worse) == better, why
    assert found("a/x_1.mp4", worse, better) == better, why


def test_two_files_that_no_rule_tells_apart_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"'x': /made/[pq]/x_1.mp4 and /made/[pq]/x_1.mp4.*task.med"
    ):
        found("x_1.mp4", "p/x_1.mp4", "q/x_1.mp4")


def test_one_file_under_two_names_is_one_file(tmp_path: Path) -> None:
    for folder in ("q", "old"):
        (tmp_path / folder).mkdir()
    (tmp_path / "q/x_1.mp4").touch()
    (tmp_path / "p").symlink_to("q")
    for other, fails in (("p", False), ("old", True)):
        (tmp_path / "old/x_1.mp4").touch()
        there = tree(f"{other}/x_1.mp4", "q/x_1.mp4", root=tmp_path)
        if fails:
            with pytest.raises(DataError, match="two files match"):
                match(made(), "train", there, ["x_1"], ["x"])
        else:
            assert match(made(), "train", there, ["x_1"], ["x"]).tolist() == [0]


# ------------------------------------------------------------------------------ nothing is swapped
def test_a_key_of_several_names_tells_none_of_them() -> None:
    names = ["a/x_1.mp4", "b/x_1.mp4"]
    ids = {"sample_id": lambda name: name.removesuffix(".mp4")}
    keys = {"keys": default_keys}
    assert found(names, "b/x_1.mp4", **ids, **keys) == [None, "b/x_1.mp4"]
    assert found(names, "x_1.mp4", **ids, **keys) == [None, None]


def test_a_file_belongs_to_the_longer_key() -> None:
    names = ["x_1.mp4", "a/x_1.mp4"]
    ids = {"sample_id": lambda name: name.removesuffix(".mp4")}
    assert found(names, "a/x_1.mp4", **ids) == [None, "a/x_1.mp4"]
    assert found(names, "a/x_1.mp4", "c/x_1.mp4", **ids) == ["c/x_1.mp4", "a/x_1.mp4"]


def test_a_file_of_another_split_is_not_taken_where_splits_have_folders() -> None:
    assert found("1.mp4", "train/1.mp4", "val/2.mp4", split="val") is None
    assert found("1.mp4", "train/1.mp4", "val/1.mp4", split="val") == "val/1.mp4"
    assert found("train/1.mp4", "train/1.mp4", "val/2.mp4", split="val") == "train/1.mp4"
    assert found("1.mp4", "train/1.mp4", "other/2.mp4", split="val") == "train/1.mp4"


# ------------------------------------------------------------------------------------- brute force
FOLDERS = st.sampled_from(["train", "val", "a", "b", "fixed", "train_256", "train_mini"])
STEMS = st.sampled_from(["x_1", "x_2", "y_1", "x", "z.1"])
PATHS = st.tuples(st.lists(FOLDERS, max_size=3), STEMS, st.sampled_from([".mp4", ".webm", ""]))


def joined(path: tuple[list[str], str, str]) -> str:
    folders, base, tail = path
    return "/".join([*folders, base + tail])


NAMES = st.lists(PATHS.map(joined), max_size=7, unique=True)


def parts(name: str) -> tuple[str, ...]:
    bare = name.removesuffix(".mp4").removesuffix(".webm")
    return PurePosixPath(bare).parts


def brute(
    dataset: DataSet, split: str, names: Sequence[str], listed: Sequence[str], ids: list[str]
) -> list[int] | None:
    """For every file the name it belongs to, then for every name the best of its files."""
    keys = [[parts(key) for key in dataset.keys(name)] for name in listed]
    meant = [split_folder(name.rpartition("/")[0], dataset.words) for name in names]
    own_folder = any(split in splits for splits, _ in meant)
    claims: dict[int, list] = {}
    for medium, name in enumerate(names):
        path, (splits, place) = parts(name), meant[medium]
        foreign = own_folder and splits and split not in splits
        options = []
        for row in range(len(listed)):
            for rank, key in enumerate(keys[row]):
                others = [
                    k[rank] for i, k in enumerate(keys) if i != row and k[rank] not in k[:rank]
                ]
                fits = path[-len(key) :] == key and key not in keys[row][:rank]
                if fits and key not in others and not (foreign and len(path) - len(key) > place):
                    options.append((rank, -len(key), row))
            if dataset.sample_id(name) == ids[row] and not foreign:
                options.append((len(keys[row]), 0, row))
        if options:
            rank, _, row = min(options)
            order = (
                not any("fixed" in part for part in path[:-1]),
                rank,
                split not in splits,
                len(path),
            )
            claims.setdefault(row, []).append((order, medium))
    chosen = [-1] * len(listed)
    for row, rivals in claims.items():
        rivals.sort()
        if len(rivals) > 1 and rivals[0][0] == rivals[1][0]:
            return None
        chosen[row] = rivals[0][1]
    return chosen


@settings(max_examples=400, deadline=None)
@given(names=NAMES, listed=NAMES, split=st.sampled_from(["train", "val"]), whole=st.booleans())
def test_matching_is_that_of_brute_force(
    names: list[str], listed: list[str], split: str, whole: bool
) -> None:
    options = {"sample_id": lambda name: "/".join(parts(name))} if whole else {}
    dataset = made(**options)
    rows = list({dataset.sample_id(name): name for name in listed}.values())
    ids = [dataset.sample_id(name) for name in rows]
    expected = brute(dataset, split, names, rows, ids)
    if expected is None:
        with pytest.raises(DataError, match="two files match"):
            match(dataset, split, tree(*names), rows, ids)
    else:
        assert match(dataset, split, tree(*names), rows, ids).tolist() == expected


# ------------------------------------------------------------------------------------ split words
@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("train", {"train"}),
        ("videos_TRAIN", {"train"}),
        ("train256", {"train"}),
        ("kinetics400_val_list.txt", {"val"}),
        ("validation-00000-of-00014", {"val"}),
        ("train_mini", {"mini"}),
        ("train_val", set()),
        ("training", set()),
        ("carnival", set()),
        ("", set()),
    ],
)
def test_words_of_splits_in_names(name: str, splits: set[str]) -> None:
    assert splits_named(name, WORDS) == splits


def test_words_with_digits_end_where_the_number_ends() -> None:
    words = {"one": ("split_1", "split1"), "ten": ("split10",)}
    assert splits_named("hmdb51_train_split_1_videos", words) == {"one"}
    assert splits_named("test_split10", words) == {"ten"}
    assert splits_named("test_split1", words) == {"one"}


def test_the_first_telling_folder_counts_and_no_deep_one() -> None:
    assert split_folder("data/val/train_station/platform", WORDS) == ({"val"}, 1)
    assert split_folder("1/2/3/4/val", WORDS) == (frozenset(), -1)
