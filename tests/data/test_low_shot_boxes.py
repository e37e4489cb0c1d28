"""Low-shot tasks of boxes: whole videos are drawn, labels outside of the draw change nothing."""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.boxes.regions import Regions, RepeatedMedia
from bench.data.discover.split_files import split_digest, split_name, split_text, write_split
from bench.data.few_labels import VIDEO_RULES, Share, cut_tasks, low_shot_task
from bench.data.manifest import Manifest, Task
from bench.data.media.media import MediaColumn
from bench.errors import DataError, UsageError
from bench.types import ClipPlan

PLAN = ClipPlan.parse("8@2")
# Video 5 has no box.
VIDEOS = ["-5KQ66BBWC4", "053oq2xB3oU", "0f39OWEqJ24", "1j20qq1JyX4", "2PpxiG0WU18", "empty"]
BOXES = (7, 5, 3, 9, 4)
PINNED_IDS = ["5cb716ffbe60313c", "2b80bc227b160e26"]
CLASSES = 5


def boxes(videos: list[str] = VIDEOS) -> Manifest:
    """28 boxes labelled by their video and number; class 3 is in one video, class 4 in none."""
    video = np.repeat(np.arange(5), BOXES)
    number = np.concatenate([np.arange(n) for n in BOXES])
    corners = np.stack([0.01 * number, 0 * number, 0.5 + 0 * number, 1 + 0.0 * number], axis=1)
    regions = Regions.of(
        videos=videos,
        media=MediaColumn.of_files(Path("/m"), [f"{name}.mkv" for name in videos]),
        video=video,
        micros=(902 + number // 2) * 1_000_000,
        corners=corners,
    )
    labels = np.array([[n % 2, n % 3 == 0, n == 1, v == 3, False] for v, n in zip(video, number)])  # noqa: B905
    ids = [f"{videos[v]},{902 + n // 2:04d},{0.01 * n:g},0,0.5,1" for v, n in zip(video, number)]  # noqa: B905
    return Manifest(
        name="own",
        split="train",
        kind="video",
        ids=ids,
        media=regions.by_row,
        labels=labels.astype(np.int64),
        classes=[str(c) for c in range(CLASSES)],
        regions=regions,
    )


def task_of(fit: Manifest | None = None) -> Task:
    fit = boxes() if fit is None else fit
    return Task(
        name="own", title="Own", fit=fit, score=fit, fit_plan=PLAN, score_plan=PLAN,
        options={"size": "full"},
    )  # fmt: skip


def drawn_videos(task: Task) -> list[str]:
    regions = task.fit.regions
    return [regions.videos[v] for v in np.unique(regions.video)]


def in_order(draw: int) -> list[str]:
    """The videos that have boxes, in the order of SHA-256."""
    names = VIDEOS[:5]
    return sorted(names, key=lambda n: hashlib.sha256(f"group {draw} {n}".encode()).hexdigest())


def test_fraction_draws_whole_videos_and_writes_down_what_came_of_it() -> None:
    task = task_of()
    cut = low_shot_task(task, fraction=0.5, draw=2)  # 2.5 of 5 videos, rounded up
    assert sorted(drawn_videos(cut)) == sorted(in_order(2)[:3])
    rows = [row for row, v in enumerate(task.fit.regions.video) if VIDEOS[v] in in_order(2)[:3]]
    assert cut.fit.root_rows.tolist() == rows and cut.fit.root is task.fit
    sizes = task.fit.labels[rows].sum(axis=0)
    assert cut.options == {
        "size": "full",
        "fraction": 0.5,
        "draw": 2,
        "rule": VIDEO_RULES["fraction"],
        "rows": len(rows),
        "videos": 3,
        "least": sizes.min(),
        "most": sizes.max(),
        "lost_classes": int((sizes[:4] == 0).sum()),
        "split_sha256": split_digest(cut.fit.ids),
        "whole_sha256": task.fit.digest,
    }
    assert isinstance(cut.fit.media, RepeatedMedia)
    assert [Path(str(m)).stem for m in cut.fit.media] == [i.split(",")[0] for i in cut.fit.ids]


def test_labels_that_a_draw_lost_are_counted() -> None:
    has_3 = VIDEOS[3]
    lost = [low_shot_task(task_of(), fraction=0.4, draw=d) for d in range(12)]
    assert {has_3 in drawn_videos(cut) for cut in lost} == {True, False}
    for cut in lost:
        sizes = cut.fit.labels.sum(axis=0)
        assert cut.options["lost_classes"] == (sizes[:4] == 0).sum()  # class 4 was never there
        assert cut.options["least"] == 0 and cut.options["most"] == sizes.max()


def test_fractions_of_a_draw_are_nested_and_draws_differ() -> None:
    task = task_of()
    shares = [Share(fraction=f, draw=1) for f in (0.01, 0.4, 0.6, 0.99)]
    cuts = list(cut_tasks(task, shares))
    assert [cut.options["videos"] for cut in cuts] == [1, 2, 3, 5]
    for small, large in itertools.pairwise(cuts):
        assert set(small.fit.ids) < set(large.fit.ids)
    # 0.99 of five videos is all of them: the manifest itself.
    assert cuts[-1].fit is task.fit
    firsts = {low_shot_task(task, fraction=0.2, draw=d).fit.ids[0].split(",")[0] for d in range(9)}
    assert len(firsts) > 1


def test_whole_split_is_the_manifest_itself() -> None:
    task = task_of()
    cut = low_shot_task(task, draw=3)
    sizes = task.fit.labels.sum(axis=0)
    assert cut.fit is task.fit
    assert cut.options == {
        "size": "full",
        "fraction": 1.0,
        "draw": 0,
        "rule": "all training rows",
        "rows": 28,
        "videos": 5,
        "least": sizes.min(),
        "most": sizes.max(),
    }


def test_shots_of_boxes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"shots 5: the rows of own are boxes.*fraction"):
        low_shot_task(task_of(), shots=5)


def test_rows_with_several_labels_that_are_no_boxes_are_refused_rather_than_stratified() -> None:
    fit = replace(boxes(), regions=None)
    with pytest.raises(UsageError, match="cannot be drawn per class"):
        low_shot_task(task_of(fit), fraction=0.5)


def test_labels_and_boxes_outside_of_a_draw_change_nothing_of_it() -> None:
    task = task_of()
    first = low_shot_task(task, fraction=0.4, draw=1)
    outside = np.setdiff1d(np.arange(28), first.fit.root_rows)
    labels = task.fit.labels.copy()
    labels[outside] = 1 - labels[outside]
    second = low_shot_task(task_of(replace(task.fit, labels=labels)), fraction=0.4, draw=1)
    assert second.fit.digest == first.fit.digest
    # Neither do boxes of other videos, nor the place of a video in the list.
    kept = np.delete(np.arange(28), outside[task.fit.regions.video[outside] == outside_video(task)])
    fewer = replace(task.fit.subset(kept), parent=None, rows=None)
    third = low_shot_task(task_of(fewer), fraction=0.5, draw=1)
    assert third.fit.ids == first.fit.ids  # 2 of 4 videos are those of 2 of 5
    same = [k for k in first.options if k not in ("whole_sha256", "lost_classes")]
    assert [second.options[key] for key in same] == [first.options[key] for key in same]


def outside_video(task: Task) -> int:
    return task.fit.regions.videos.index(in_order(1)[-1])


def test_order_of_the_videos_decides_nothing() -> None:
    mirrored = low_shot_task(task_of(boxes([*VIDEOS[4::-1], "empty"])), fraction=0.4, draw=1)
    assert sorted(drawn_videos(mirrored)) == sorted(in_order(1)[:2])


# --------------------------------------------------------------------------------------- the files
def test_written_split_is_read_back_as_the_same_rows(tmp_path: Path) -> None:
    task = task_of()
    cut = low_shot_task(task, fraction=0.4, draw=1)
    path = write_split(cut, tmp_path / split_name(cut))
    assert path.name == "own_train_40percent_draw1.txt"
    again = low_shot_task(task, subset=path)
    assert again.fit.digest == cut.fit.digest
    assert again.options["rule"] == VIDEO_RULES["subset"] and again.options["videos"] == 2
    assert again.options["split_sha256"] == cut.options["split_sha256"]


def test_drawn_boxes_are_fixed_for_ever() -> None:
    shares = [Share(fraction=0.2), Share(fraction=0.6, draw=2)]
    cuts = list(cut_tasks(task_of(), shares))
    assert [split_digest(cut.fit.ids)[:16] for cut in cuts] == PINNED_IDS
    head = split_text(cuts[1]).decode().splitlines()[0]
    assert "split=train fraction=0.6 draw=2 rows=" in head and "of n videos" in head


@pytest.mark.parametrize(
    "spell",
    [
        lambda video: video,
        lambda video: f"{video}.mp4",
        lambda video: f"trainval/{video}.mkv",
    ],
)
def test_subset_may_name_videos_and_boxes(tmp_path: Path, spell: Callable[..., Any]) -> None:
    task = task_of()
    path = tmp_path / "some.txt"
    lines = [spell(VIDEOS[3]), task.fit.ids[8], spell("empty"), spell(VIDEOS[0])]
    path.write_text("\n".join(lines) + "\n")
    cut = low_shot_task(task, subset=path)
    assert cut.fit.root_rows.tolist() == [*range(7), 8, *range(15, 24)]
    assert cut.options["videos"] == 3


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["nowhere", VIDEOS[0]], "1 is neither a sample nor a video of own train: 'nowhere'"),
        ([f"{VIDEOS[0]},0902,0.5,0,0.5,1"], "of 1 names 1 is neither"),
        ([VIDEOS[1], f"x/{VIDEOS[1]}.mp4"], r"listed twice: 'x/053oq2xB3oU.mp4'"),
        (["BOX 8", VIDEOS[1]], r"1 is listed twice: '053oq2xB3oU,0902"),
        ([VIDEOS[1], "BOX 8"], r"1 is listed twice: '053oq2xB3oU,0902"),
        (["BOX 8", "BOX 8"], "1 is listed twice"),
        (["empty"], "lists no samples"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path: Path, lines: list[str], said: str) -> None:
    task = task_of()
    path = tmp_path / "list.txt"
    path.write_text("\n".join(task.fit.ids[8] if n == "BOX 8" else n for n in lines) + "\n")
    with pytest.raises(DataError, match=said):
        low_shot_task(task, subset=path)
