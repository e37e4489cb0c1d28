"""Find the files of an evaluation on person boxes by their published names.

ava_{train,val}_v2.2.csv                       ground truth (or AlphAction's ..._min.json)
ava_{train,val}_excluded_timestamps_v2.2.csv   key frames that do not count
ava_included_timestamps_v2.2.txt               the labelled seconds
ava_action_list_v2.2.pbtxt                     80 classes; ..._for_activitynet_2019: those scored
person_box_67091280_iou90/ava_detection_val_boxes_and_labels.csv   a detector's boxes: SlowFast,
boxes/ava_val_det_person_bbox.json, ava_dense_proposals_val*.json  AlphAction, mmaction2
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from bench.data.boxes.ava_csv_lines import parse_micros
from bench.data.boxes.ava_labels import read_action_list
from bench.data.discover.annotations import read_lines
from bench.errors import DataError
from bench.files import file_sha256
from tasks.formats.ava_media import AvaTree

Classes = Mapping[int, str]


@dataclass(frozen=True, kw_only=True)
class AvaFiles:
    """The files of an evaluation on boxes; None if there is no such file.

    `detections` are needed to score on a detector's boxes, `fit_detections` to fit on them too.
    `images` and `fit_images` are AlphAction's `*_min.json` with the key frames of its detections
    (None: the one next to them). `action_list` has all classes, `label_map` those that are scored
    (None: all).
    """

    ground_truth_train: Path
    ground_truth: Path
    detections: Path | None = None
    fit_detections: Path | None = None
    excluded_train: Path | None = None
    excluded: Path | None = None
    included: Path | None = None
    action_list: Path | None = None
    label_map: Path | None = None
    images: Path | None = None
    fit_images: Path | None = None

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 by field, without images (recorded with boxes, see `PersonBoxes.images`)."""
        files = {k: v for k, v in vars(self).items() if k not in ("images", "fit_images")}
        return {role: file_sha256(path) for role, path in files.items() if path is not None}


def find_files(
    tree: AvaTree,
    *,
    version: str,
    detections: Path | None = None,
    fit_detections: Path | None = None,
    with_detections: bool = True,
    with_fit_detections: bool = False,
) -> AvaFiles:
    """Find the files of a version ("2.1" or "2.2") below a folder.

    Given paths (relative to the folder or not) replace a search; unneeded detections are not
    searched for.

    Raises:
        DataError: a needed file is missing, or there are several with different content.
    """
    needed = {
        "ground_truth_train": True,
        "ground_truth": True,
        "detections": with_detections,
        "fit_detections": with_fit_detections,
    }
    given = {"detections": detections, "fit_detections": fit_detections}
    found: dict[str, Path | None] = {}
    for role in NAMES:
        path = given.get(role)
        if path is not None:
            found[role] = resolve(tree.root, path, f"task.{role}")
        else:
            found[role] = _find(tree, role, version) if needed.get(role, True) else None
    for role in needed:
        if not needed[role] or found[role] is not None:
            continue
        names = ", ".join(pattern.format(v=version) for pattern in NAMES[role])
        if role in DETECTIONS:
            raise DataError(
                f"{tree.root} has none of {names}; pass a detector's boxes with --set"
                f" task.{role}=FILE"
            )
        raise DataError(
            f"{tree.root} has no {names}; pass the folder of AVA as --data, or that of its lists"
            " with --set task.annotations=DIR"
        )
    return AvaFiles(**found)  # type: ignore[arg-type]


def resolve(root: Path, path: Path, option: str, kind: str = "file") -> Path:
    """Return an existing file (or "folder") relative to `root` or to the working directory.

    Raises:
        DataError: it does not exist; the message has the option.
    """
    for candidate in (root / path, path):
        if candidate.is_file() if kind == "file" else candidate.is_dir():
            return candidate
    raise DataError(
        f"there is no {kind} {path}, neither in {root} nor here; check --set {option}={path}"
    )


# Published file names by field of `AvaFiles`, best first.
NAMES: Mapping[str, Sequence[str]] = {
    "ground_truth_train": ("ava_train_v{v}.csv", "ava_train_v{v}_min.json"),
    "ground_truth": ("ava_val_v{v}.csv", "ava_val_v{v}_min.json"),
    "excluded_train": ("ava_train_excluded_timestamps_v{v}.csv",),
    "excluded": ("ava_val_excluded_timestamps_v{v}.csv",),
    "included": ("ava_included_timestamps_v{v}.txt",),
    "action_list": ("ava_action_list_v{v}.pbtxt",),
    "label_map": ("ava_action_list_v{v}_for_activitynet_*.pbtxt",),
    "images": ("ava_val_v{v}_min.json",),
    "fit_images": ("ava_train_v{v}_min.json",),
    "detections": (
        "ava_val_predicted_boxes.csv",
        "ava_detection_val_boxes_and_labels*.csv",
        "ava_detection_val_boxes_include_negative*.csv",
        "ava_val_det_person_bbox.json",
        "ava_dense_proposals_val*.json",
        "ava_dense_proposals_val*.pkl",
    ),
    "fit_detections": (
        "ava_train_predicted_boxes.csv",
        "ava_detection_train_boxes_and_labels*_v{v}.csv",
        "ava_detection_train_boxes_and_labels.csv",
        "ava_detection_train_boxes_and_labels_include_negative.csv",
    ),
}
# Several such files are different boxes, so the user has to choose.
DETECTIONS = ("detections", "fit_detections")


def _find(tree: AvaTree, role: str, version: str) -> Path | None:
    """Return the file of a role, None without one.

    Raises:
        DataError: several that differ in content.
    """
    found: list[Path] = []
    for pattern in NAMES[role]:
        file_name = pattern.format(v=version)
        found += [
            tree.root / name
            for name in tree.lists
            if fnmatch.fnmatchcase(name.rpartition("/")[2], file_name)
        ]
        if found and role not in DETECTIONS:
            break
    readable = [path for path in found if path.suffix != ".pkl"] or found
    if len(readable) < 2:
        return next(iter(readable), None)
    if len({file_sha256(path) for path in readable}) > 1:
        option = f"task.{role}=FILE" if role in DETECTIONS else "task.annotations=DIR"
        shown = ", ".join(str(path.relative_to(tree.root)) for path in readable)
        raise DataError(
            f"{tree.root} has {len(readable)} files that may be the {role.replace('_', ' ')} but"
            f" differ: {shown}; choose one with --set {option}"
        )
    return readable[0]


# ---------------------------------------------------------------------------------------- contents
def read_classes(
    files: AvaFiles, *, all_classes: Classes | None, evaluated: Classes | None
) -> tuple[Classes, Classes]:
    """Return all classes and the scored ones, id -> name, sorted by id.

    Files take precedence over `all_classes` and `evaluated`.

    Raises:
        DataError: an unreadable list; neither file nor `all_classes`; a scored class that is not
            among all classes, or has another name there.
    """
    scored = evaluated if files.label_map is None else read_action_list(files.label_map)
    known = all_classes if files.action_list is None else read_action_list(files.action_list)
    if known is None:
        raise DataError(
            f"there is no list of the classes of {files.ground_truth}; pass one as action_list."
        )
    if scored is None:
        scored = known
    for number, name in scored.items():
        if known.get(number, name) != name or number not in known:
            other = f"called {known[number]!r}" if number in known else "not listed"
            raise DataError(
                f"{files.label_map or 'the scored classes'}: class {number} is {name!r}, but in"
                f" {files.action_list or 'the list of all classes'} it is {other}; use lists of"
                " the same release."
            )
    return dict(sorted(known.items())), dict(sorted(scored.items()))


def read_seconds(path: Path) -> frozenset[int]:
    """Return the labelled seconds of a list, in microseconds; empty lines are ignored.

    Raises:
        DataError: missing or empty file, or a line that is not a time in seconds.
    """
    seconds = set()
    for number, line in enumerate(read_lines(path), start=1):
        try:
            if line:
                seconds.add(parse_micros(line))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}.") from error
    if not seconds:
        raise DataError(f"{path} is empty; it should list the labelled seconds, one per line.")
    return frozenset(seconds)


def shipped_classes() -> tuple[Classes, Classes]:
    """Return the 80 classes of AVA v2.1 and v2.2 and the 60 scored ones, id -> name."""
    text = resources.files("tasks.labels").joinpath("ava.txt").read_text(encoding="utf-8")
    known, scored = {}, {}
    for line in text.splitlines():
        number, _, name = line.partition(" ")
        known[int(number.rstrip("*"))] = name
        if number.endswith("*"):
            scored[int(number.rstrip("*"))] = name
    return known, scored
