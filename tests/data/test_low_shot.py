"""Low-shot tasks: what is drawn, what is written down, and split files that travel."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.discover.split_files import (
    read_split,
    split_digest,
    split_name,
    split_text,
    write_split,
)
from bench.data.few_labels import RULES, Share, cut_tasks, low_shot_task, normalised_options
from bench.data.manifest import Manifest, Task
from bench.data.media.media import FILE, MediaColumn
from bench.errors import DataError, UsageError
from bench.types import ClipPlan

PLAN = ClipPlan.parse("8@2")
SIZES = (40, 25, 7, 3, 1)  # rows of classes 0 to 4
PINNED = [
    "fee7bd52ade56233",
    "0d10110795d054f7",
    "2b4305e1f091a061",
    "e89c2a9844e92738",
    "d7f69f3d3678b4f1",
]
PINNED_IDS = [
    "c0c2807de060b3c3",
    "c353dfd2240ebe7a",
    "800725c424822551",
    "45a4afd83614e57d",
    "3ffff98f81746a69",
]


def manifest_of(
    ids: list[str], labels: list[int], split: str = "train", classes: int = 5
) -> Manifest:
    return Manifest(
        name="own",
        split=split,
        kind="video",
        ids=ids,
        media=MediaColumn.of_files(Path("/m"), ids),
        labels=np.array(labels, dtype=np.int64),
        classes=[str(c) for c in range(classes)],
    )


def task_of(fit: Manifest) -> Task:
    score = manifest_of(["s/1"], [0], split="val", classes=len(fit.classes))
    options = {"size": "full"}
    return Task(
        name="own", title="Own", fit=fit, score=score, fit_plan=PLAN, score_plan=PLAN,
        options=options,
    )  # fmt: skip


def uneven(reverse: bool = False) -> Task:
    """76 rows of 5 classes, ids as ImageNet spells them."""
    rows = [(f"n{c:04d}/n{c:04d}_{i}.JPEG", c) for c, n in enumerate(SIZES) for i in range(n)]
    rows = rows[::-1] if reverse else rows
    return task_of(manifest_of([sample for sample, _ in rows], [c for _, c in rows]))


# ------------------------------------------------------------------------------------------- cuts
def test_fraction_writes_down_what_was_asked_and_drawn() -> None:
    task = uneven()
    cut = low_shot_task(task, fraction=0.1, draw=2)
    # Rounded halves up: 4, 2.5 -> 3, 0.7 -> 1; 0.3 and 0.1 round to none and are lifted to one.
    assert np.bincount(cut.fit.labels).tolist() == [4, 3, 1, 1, 1]
    assert cut.options == {
        "size": "full",
        "fraction": 0.1,
        "draw": 2,
        "rule": RULES["fraction"],
        "rows": 10,
        "least": 1,
        "most": 4,
        "lifted_classes": 2,
        "split_sha256": split_digest(cut.fit.ids),
        "whole_sha256": task.fit.digest,
    }
    assert cut.fit.root is task.fit and cut.score is task.score


def test_lifted_classes_are_counted_exactly_for_long_fractions_and_large_classes() -> None:
    """The numerator of 1/3 as a decimal times 2,000 rows is beyond 64 bits."""
    labels = [0] * 2_000 + [1]
    task = task_of(manifest_of([str(row) for row in range(2_001)], labels))
    cut = low_shot_task(task, fraction=1 / 3)
    assert np.bincount(cut.fit.labels).tolist() == [667, 1]
    assert cut.options["lifted_classes"] == 1


def test_shots_give_all_of_a_class_that_has_fewer_and_count_it() -> None:
    cut = low_shot_task(uneven(), shots=5, draw=1)
    assert np.bincount(cut.fit.labels).tolist() == [5, 5, 5, 3, 1]
    facts = {key: cut.options[key] for key in ("shots", "draw", "rows", "least", "most")}
    assert facts == {"shots": 5, "draw": 1, "rows": 19, "least": 1, "most": 5}
    assert cut.options["short_classes"] == 2 and "fraction" not in cut.options


def test_whole_split_is_the_manifest_itself_and_has_one_draw() -> None:
    task = uneven()
    for draw in (0, 3):
        cut = low_shot_task(task, fraction=1.0, draw=draw)
        assert cut.fit is task.fit
        assert cut.options["fraction"] == 1.0 and cut.options["draw"] == 0
        assert (cut.options["least"], cut.options["most"]) == (1, 40)


def test_shots_lie_within_more_shots_and_within_fractions_of_the_draw() -> None:
    task = uneven()
    asked = [Share(shots=1, draw=1), Share(fraction=0.1, draw=1), Share(fraction=0.5, draw=1)]
    one, tenth, half = (set(cut.fit.ids) for cut in cut_tasks(task, asked))
    assert one < tenth < half < set(task.fit.ids)
    other = set(low_shot_task(task, shots=1, draw=0).fit.ids)
    assert other != one


def test_order_of_the_rows_decides_nothing() -> None:
    straight, reverse = uneven(), uneven(reverse=True)
    for how in ({"fraction": 0.2, "draw": 1}, {"shots": 3}):
        first, second = low_shot_task(straight, **how), low_shot_task(reverse, **how)
        assert set(first.fit.ids) == set(second.fit.ids)
        assert split_text(first) == split_text(second)


def test_a_cut_task_can_be_cut_anew_without_traces_of_the_first_cut() -> None:
    task = uneven()
    again = low_shot_task(low_shot_task(task, fraction=1.0), shots=2)
    assert again.options == low_shot_task(task, shots=2).options


def test_pixels_of_a_cut_stay_a_column() -> None:
    names = [f"{i}.mp4" for i in range(6)]
    fit = replace(
        manifest_of(names, [0, 0, 0, 1, 1, 1]), media=MediaColumn.of_files(Path("/m"), names, FILE)
    )
    cut = low_shot_task(task_of(fit), shots=1)
    assert isinstance(cut.fit.media, MediaColumn)
    assert [f"/m/{sample}" for sample in cut.fit.ids] == [str(medium) for medium in cut.fit.media]
    whole = low_shot_task(uneven(), shots=1).fit
    assert isinstance(whole.media, MediaColumn) and whole.media.names == whole.ids


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"fraction": 0.5, "shots": 1}, "choose only one of them"),
        ({"shots": 1, "subset": Path("x.txt")}, "choose only one of them"),
        ({"fraction": 0.0}, "at most 1"),
        ({"fraction": 5.0}, "5 % is 0.05"),
        ({"shots": 0}, "at least 1"),
        ({"draw": -1}, "numbered from 0"),
        ({"draw": 1, "subset": Path("x.txt")}, "not drawn"),
    ],
)
def test_share_that_cannot_be_drawn_is_refused(asked: dict[str, Path | float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        low_shot_task(uneven(), **asked)


def test_share_has_one_spelling() -> None:
    defaults = {"fraction": 1.0, "draw": 0, "shots": None, "subset": None, "size": "full"}

    def spelled(**options: Any) -> dict[str, float | str]:
        return normalised_options(options, defaults)

    assert spelled(fraction=1.0, draw=2, size="full") == {"size": "full"}
    assert spelled(draw=1) == {}
    assert spelled(fraction=0.05) == spelled(fraction=0.05, draw=0) == {"fraction": 0.05, "draw": 0}
    assert spelled(shots=3, draw=1, fraction=1.0) == {"shots": 3, "draw": 1}
    assert spelled(subset="a.txt") == {"subset": "a.txt"}
    assert normalised_options({"draw": 1}, {"draw": 0}) == {"draw": 1}  # another task's own option


# -------------------------------------------------------------------------------------- the files
def test_split_files_are_the_same_on_every_platform_and_with_every_version() -> None:
    """Digests of whole files; a change here changes every number measured on few labels."""
    task = uneven()
    asked = [
        Share(fraction=0.05, draw=0),
        Share(fraction=0.05, draw=1),
        Share(fraction=0.5, draw=2),
        Share(shots=5, draw=0),
        Share(),
    ]
    digests = [hashlib.sha256(split_text(cut)).hexdigest()[:16] for cut in cut_tasks(task, asked)]
    assert digests == PINNED
    # Without the words of the rule, which may be put better one day.
    ids = [split_digest(cut.fit.ids)[:16] for cut in cut_tasks(task, asked)]
    assert ids == PINNED_IDS


def test_split_digest_is_what_a_shell_computes(tmp_path: Path) -> None:
    # printf 'a\nb\n' | sha256sum
    assert split_digest(["b", "a"]).startswith("911169ddaaf146af")
    path = write_split(low_shot_task(uneven(), shots=1), tmp_path / "split.txt")
    header, body = path.read_bytes().split(b"\n", 1)
    assert hashlib.sha256(body).hexdigest() in header.decode()
    assert header.startswith(b"# frozenbench split task=own split=train shots=1 draw=0 rows=5 ")


def test_written_split_is_read_back_as_the_same_rows(tmp_path: Path) -> None:
    task = uneven()
    for share in (Share(fraction=0.2, draw=1), Share(shots=2), Share()):
        [cut] = cut_tasks(task, [share])
        path = write_split(cut, tmp_path / split_name(cut))
        read = low_shot_task(task, subset=path)
        assert read.fit.digest == cut.fit.digest
        assert read.options.get("split_sha256") == split_digest(cut.fit.ids)
        assert read.options["subset_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert "fraction" not in read.options and "draw" not in read.options
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "own_train_20percent_draw1.txt",
        "own_train_2shots_draw0.txt",
        "own_train_all.txt",
    ]


def test_edited_split_file_is_refused(tmp_path: Path) -> None:
    path = write_split(low_shot_task(uneven(), shots=1), tmp_path / "split.txt")
    path.write_text(path.read_text() + "n0000/n0000_39.JPEG\n")
    with pytest.raises(DataError, match="was changed"):
        read_split(path)


@pytest.mark.parametrize(
    "spell",
    [
        lambda sample: sample.rsplit("/", 1)[1],  # SimCLR: n0000_3.JPEG
        lambda sample: sample.rsplit("/", 1)[1].removesuffix(".JPEG"),
        lambda sample: sample,
        lambda sample: f"/data/imagenet/train/{sample}",
        lambda sample: sample.replace(".JPEG", ".png"),
    ],
)
def test_names_are_found_with_and_without_folder_and_extension(
    tmp_path: Path, spell: Callable[..., Any]
) -> None:
    task = uneven()
    wanted = [task.fit.ids[row] for row in (70, 3, 41)]
    path = tmp_path / "1percent.txt"
    lines = "\r\n".join(spell(sample) for sample in wanted)
    path.write_bytes(b"\xef\xbb\xbf" + lines.encode() + b"\r\n\r\n")
    cut = low_shot_task(task, subset=path)
    assert list(cut.fit.ids) == [task.fit.ids[row] for row in (3, 41, 70)]
    assert cut.options["least"] == 0 and cut.options["rule"] == RULES["subset"]


def test_stored_ids_without_extension_are_found_by_file_names(tmp_path: Path) -> None:
    task = task_of(manifest_of([f"n01440764_{i}" for i in range(12)], [0] * 12))
    path = tmp_path / "10percent.txt"
    path.write_text("n01440764_10.JPEG\nn01440764_1.JPEG\n")
    assert list(low_shot_task(task, subset=path).fit.ids) == ["n01440764_1", "n01440764_10"]


def test_names_that_are_not_in_the_split_are_counted_and_named(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("n0000_3.JPEG\nn0000_99.JPEG\nn9999_1.JPEG\n")
    with pytest.raises(DataError, match=r"of 3 names 2 are not among the samples of own train"):
        low_shot_task(uneven(), subset=path)
    with pytest.raises(DataError, match=r"'n0000_99.JPEG', 'n9999_1.JPEG'"):
        low_shot_task(uneven(), subset=path)


def test_name_of_several_samples_or_named_twice_is_refused(tmp_path: Path) -> None:
    task = task_of(manifest_of(["run/1.mp4", "walk/1.mp4", "walk/2.mp4"], [0, 1, 1]))
    path = tmp_path / "list.txt"
    path.write_text("1.mp4\n")
    with pytest.raises(DataError, match=r"ambiguous among .*: '1\.mp4'"):
        low_shot_task(task, subset=path)
    path.write_text("2.mp4\nwalk/2\n")
    with pytest.raises(DataError, match="listed twice: 'walk/2'"):
        low_shot_task(task, subset=path)
    path.write_text("run/1.mp4\n")
    assert low_shot_task(task, subset=path).fit.ids == ["run/1.mp4"]


def test_empty_and_missing_lists_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match="lists no samples"):
        low_shot_task(uneven(), subset=tmp_path / "empty.txt")
    with pytest.raises(DataError, match=r"nowhere\.txt"):
        low_shot_task(uneven(), subset=tmp_path / "nowhere.txt")


def test_permuting_labels_outside_of_a_list_changes_nothing_of_the_cut(tmp_path: Path) -> None:
    task = uneven()
    path = write_split(low_shot_task(task, fraction=0.3, draw=1), tmp_path / "split.txt")
    first = low_shot_task(task, subset=path)
    labels = task.fit.labels.copy()
    outside = np.setdiff1d(np.arange(len(labels)), first.fit.root_rows)
    labels[outside] = np.roll(labels[outside], 7)
    assert (labels != task.fit.labels).any()
    second = low_shot_task(replace(task, fit=replace(task.fit, labels=labels)), subset=path)
    assert second.fit.digest == first.fit.digest
    same = [key for key in first.options if key != "whole_sha256"]
    assert [second.options[key] for key in same] == [first.options[key] for key in same]
