"""Something-Something v2, Goyal et al., arXiv 1706.04261.

    20bn-something-something-v2/900001.webm          (or .mp4, or folders of frames)
    something-something-v2-{labels,train,validation}.json          as 20BN named them
    labels/{labels,train,validation}.json, labels/test-answers.csv   as Qualcomm does

A list item has an `id` (a string, not zero-padded), a `label` (the caption of this one video) and a
`template` (the class, with its placeholders in brackets).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.discover.dataset import DataSet, Listed
from bench.data.discover.label_map import LabelMap
from bench.errors import DataError
from tasks.formats.official_files import indices, read_id_lines, read_json, same_order
from tasks.labels import shipped
from tasks.published_task import published

if TYPE_CHECKING:
    from bench.data.discover.folder_scan import Tree

TITLE = "Something-Something v2"
LABEL_FILES = ("something-something-v2-labels.json", "labels.json")
# The header of SlowFast's lists of frames; the spelling error is part of the format.
FRAME_LIST = b"original_vido_id"


def read(path: Path, split: str, tree: Tree, labels: LabelMap | None) -> Listed | None:
    """Read a list of 20BN or Qualcomm, or `test-answers.csv`; None for any other file.

    Raises:
        DataError: see `ssv2`.
    """
    assert labels is not None, "the label map of Something-Something v2 is shipped"
    if path.suffix.lower() == ".json":
        found = _items(path, split)
        layout = "20BN json" if "something" in path.name else "Qualcomm json"
    else:
        _refuse_frames(path, split, tree)
        found = read_id_lines(path)
        layout = "test answers"
    if found is None:
        return None
    ids, templates = found
    if labels is SSV2.labels:
        _check_order(path, tree, labels)
    names = [template.replace("[", "").replace("]", "") for template in templates]
    label_rows = indices(path, names, labels, title=TITLE)
    return Listed(names=ids, labels=label_rows, source=path, layout=layout)


def _items(path: Path, split: str) -> tuple[list[str], list[str]] | None:
    """Return ids and templates of a JSON list."""
    items = read_json(path)
    if not (isinstance(items, list) and items and isinstance(items[0], dict) and "id" in items[0]):
        return None
    if "template" not in items[0]:
        raise DataError(
            f"{path} lists {len(items)} videos without `template`, so {split} has no labels; the"
            " test labels are in labels/test-answers.csv"
        )
    ids, templates = [], []
    for number, item in enumerate(items, start=1):
        fields = item if isinstance(item, dict) else {}
        sample, template = fields.get("id"), fields.get("template")
        if not isinstance(sample, str | int) or not isinstance(template, str):
            shown = repr(item)
            raise DataError(
                f"{path}, item {number}: expected a string `id` and `template`, found"
                f" {shown if len(shown) <= 80 else f'{shown[:80]}...'}; download the file again."
            )
        ids.append(str(sample))
        templates.append(template)
    return ids, templates


def _refuse_frames(path: Path, split: str, tree: Tree) -> None:
    """Refuse SlowFast's frame lists, which have no labels, by their first line."""
    try:
        with path.open("rb") as file:
            first = file.readline(200)
    except OSError:
        return  # reported when the whole file is read
    if not first.removeprefix(b"\xef\xbb\xbf").startswith(FRAME_LIST):
        return
    official = f"something-something-v2-{split}.json"
    found = tree.find(official, f"labels/{split}.json")
    step = f"omit this list to read {found[0]}" if found else f"put {official} next to it"
    raise DataError(
        f"{path} lists frames only, without labels (a SlowFast list); the labels of {TITLE} are in"
        f" {official}: {step}."
    )


def _check_order(path: Path, tree: Tree, labels: LabelMap) -> None:
    """Compare the copy's own label map, whose indices are strings, with the shipped one."""
    paths = [copy for name in LABEL_FILES if (copy := tree.beside(path, name)) is not None]
    content = read_json(paths[0]) if paths else None
    if not isinstance(content, dict):
        return
    try:
        found = {str(name): int(index) for name, index in content.items()}
    except (TypeError, ValueError):
        raise DataError(
            f"{paths[0]} should give every class an index, such as"
            ' {"Approaching something with your camera": "0"}; download it again or remove it.'
        ) from None
    same_order(paths[0], found, labels, title=TITLE)


SSV2 = DataSet(
    name="ssv2",
    title=TITLE,
    kind="video",
    labels=shipped("ssv2"),
    words={
        "train": ("train", "training"),
        "validation": ("validation", "val", "valid"),
        "test": ("test",),
    },
    sizes={
        "train": {"published": 168_913},
        "validation": {"published": 24_777},
        "test": {"published": 27_157},
    },
    patterns={
        "train": ("something-something-v2-train.json", "labels/train.json", "train.csv"),
        "validation": (
            "something-something-v2-validation.json",
            "labels/validation.json",
            "val.csv",
        ),
        "test": ("labels/test-answers.csv", "test-answers.csv"),
    },
    read=read,
)


@published(SSV2, plan="16x2x3@4", flip=False, score="validation")
def ssv2() -> None:
    """Something-Something v2: 174 actions with objects, top-1; V-JEPA tables 1 to 7, ViDROP 6.

    168,913 videos to fit on, 24,777 of `validation` to score on (the 27,157 of `test` have their
    answers in a separate file and are not used). 2 clips of 16 frames, 3 views, stride 4. No
    flip: left and right are classes. The class of a video is its `template` without brackets.

    Raises:
        DataError: an unknown template, frame lists instead of video lists, a `labels.json` ordered
            unlike the shipped one (`--set task.classes=FILE` takes its order).
    """
