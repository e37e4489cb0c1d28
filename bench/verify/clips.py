"""Check the predictions of clips: every row occurs once, and they reproduce the numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.data.manifest import manifest_digest
from bench.files import parse_json
from bench.metrics.relabelling import find_relabelling
from bench.records.doubts import constant
from bench.records.predictions import Rows, read_rows
from bench.records.record import Record
from bench.records.record_files import prediction_facts
from bench.types import BoolArray, IntArray
from bench.verify.findings import Finding, all_of, failed, ok, suspect, unchecked
from bench.verify.own_words import Opened
from bench.verify.recount import Counted, check_metrics, content_digest

STATUSES = ("scored", "missing", "undecodable")
OLD_STATUS = "unreadable"  # schema 1 did not distinguish missing and undecodable
MOST = 1 + 1e-4  # a probability, with rounding
SUM_ROUNDING = 1e-3  # of float32 probabilities, averaged over views


def check_clips(opened: Opened, record: Record) -> tuple[list[Finding], Counted]:
    """Check the predictions of a record of clips; the file must exist."""
    path = opened.place("predictions")
    try:
        rows = read_rows(path, record)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        return [failed("rows", f"{path.name}: {reason}")], Counted()
    content = content_digest(rows.probabilities, rows.scored, classes=rows.classes)
    right = np.packbits(rows.right).tobytes().hex()
    found = [
        all_of("rows", _row_problems(rows, record), f"{len(rows.ids):,} rows, each once"),
        _manifest(rows, opened, record),
        check_metrics(rows, record),
        _labels(rows, record),
    ]
    if doubt := constant(rows.predicted, rows.labels[rows.scored]):
        found.append(suspect("constant", doubt))
    else:
        num_classes = len(np.unique(rows.predicted))
        found.append(ok("constant", f"classes that are predicted: {num_classes}"))
    return found, Counted(content=content, right=right, rows=len(rows.ids))


# --------------------------------------------------------------------------------------------- rows
def _row_problems(rows: Rows, record: Record) -> list[str]:
    num_classes = record.task.num_classes
    problems = [
        *rows.problems,
        *listing_problems(rows.numbers, rows.ids, rows.statuses, record),
    ]
    wrong = np.flatnonzero((rows.labels < 0) | (rows.labels >= num_classes))
    if len(wrong):
        problems.append(
            f"row {wrong[0]} has the label {rows.labels[wrong[0]]} of {num_classes} classes"
        )
    values, classes = rows.probabilities, rows.classes
    equal = (values[:, 1:] == values[:, :-1]) & (classes[:, 1:] < classes[:, :-1])
    with np.errstate(invalid="ignore"):
        total = values.astype(np.float64).sum(axis=1, keepdims=True)
    bad: dict[str, BoolArray] = {
        "lists a class that the task does not have": (classes < 0) | (classes >= num_classes),
        "lists a class twice": np.diff(np.sort(classes, axis=1), axis=1) == 0,
        "has a probability outside [0, 1]": ~((values >= 0) & (values <= MOST)),
        "lists classes out of order": (values[:, 1:] > values[:, :-1]) | equal,
        "has probabilities that sum to more than 1": total > 1 + SUM_ROUNDING,
        "is not predicted as its most probable class": rows.predicted[:, None] != classes[:, :1],
    }
    numbers = np.flatnonzero(rows.scored)
    for problem, is_bad in bad.items():
        at = np.flatnonzero(is_bad.any(axis=1))
        if len(at):
            problems.append(f"row {numbers[at[0]]} ({rows.ids[int(numbers[at[0]])]!r}) {problem}")
    return problems


def listing_problems(
    numbers: IntArray, ids: Sequence[str], statuses: npt.NDArray[np.str_], record: Record
) -> list[str]:
    """Return how the rows, of clips or boxes, differ from those that the record lists."""
    problems = []
    if len(ids) != record.data.score.listed:
        problems.append(f"{len(ids)} rows, but the record lists {record.data.score.listed}")
    if wrong := np.flatnonzero(numbers != np.arange(len(numbers))).tolist():
        problems.append(
            f"row {wrong[0]} has the number {numbers[wrong[0]]}; rows count from 0 without gaps"
        )
    return problems + _twins(ids) + _fates(ids, statuses, record)


def _twins(ids: Sequence[str]) -> list[str]:
    first: dict[str, int] = {}
    for row, sample in enumerate(ids):
        if first.setdefault(sample, row) != row:
            return [f"{sample!r} is listed twice (rows {first[sample]} and {row})"]
    return []


def _fates(ids: Sequence[str], statuses: npt.NDArray[np.str_], record: Record) -> list[str]:
    """Return how scored, missing and undecodable rows differ from those of the record."""
    score, problems = record.data.score, []
    count = {name: int((statuses == name).sum()) for name in (*STATUSES, OLD_STATUS)}
    if sum(count.values()) != len(ids):
        unknown = sorted(set(statuses.tolist()) - set(count))
        problems.append(f"status {unknown[0]!r} is unknown")
    if count["scored"] != score.used:
        problems.append(f"{count['scored']} rows are scored, but the record used {score.used}")
    recorded = {"missing": set(score.missing), "undecodable": set(score.undecodable)}
    if count[OLD_STATUS]:
        recorded = {OLD_STATUS: recorded["missing"] | recorded["undecodable"]}
    for status, known in recorded.items():
        found = {ids[row] for row in np.flatnonzero(statuses == status).tolist()}
        if found != known:
            odd = sorted(found ^ known)[0]
            problems.append(f"{odd!r} is {status} in the predictions or the record, not in both")
    if score.lost and record.config.get("on_unreadable", "stop") == "stop":
        problems.append(f"{score.lost} rows are unreadable, but the run stops at unreadable ones")
    return problems


def _manifest(rows: Rows, opened: Opened, record: Record) -> Finding:
    classes = _class_names(opened, record)
    if classes is None:
        sentence = "class names are not saved, so the manifest digest cannot be computed"
        return (failed if opened.is_sealed else unchecked)("manifest", sentence)
    digest = manifest_digest(rows.ids, rows.labels.tolist(), classes)
    recorded = record.data.score.digest
    if any("\n" in name for name in (*rows.ids, *classes)):
        wrong = "an id or a class name has a line break, which makes the manifest digest ambiguous"
    elif len(classes) != record.task.num_classes:
        wrong = f"{len(classes)} class names are saved for {record.task.num_classes} classes"
    elif digest != recorded:
        wrong = (
            f"ids, labels and class names give the digest {digest[:12]}, but the record has"
            f" {recorded[:12]}: rows or labels are not those that were scored"
        )
    else:
        return ok("manifest", "ids, labels and class names give the digest of the record")
    return failed("manifest", wrong)


def _class_names(opened: Opened, record: Record) -> list[str] | None:
    """Return the class names saved with the predictions, else with the record's probe."""
    names = (prediction_facts(opened.place("predictions")) or {}).get("classes")
    probe = record.artifacts.probe
    if names is None and probe is not None and opened.files.get("probe") == probe.sha256:
        try:
            content = parse_json(opened.place("probe").read_text(encoding="utf-8"))
        except (ValueError, OSError):
            return None
        facts = content.get("facts") if isinstance(content, dict) else None
        names = facts.get("classes") if isinstance(facts, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    # JSON may have lone surrogates, which cannot be encoded.
    is_text = not any("\ud800" <= character <= "\udfff" for name in names for character in name)
    return names if is_text else None


# ------------------------------------------------------------------------------------------ signs
def _labels(rows: Rows, record: Record) -> Finding:
    num_classes, labels = record.task.num_classes, rows.labels[rows.scored]
    both = np.concatenate([labels, rows.predicted])
    if not len(labels) or ((both < 0) | (both >= num_classes)).any():
        return unchecked("labels", "no rows can be compared with a relabelling")
    found = find_relabelling(rows.predicted, labels, num_classes)
    if not found.alarm:
        return ok("labels", "no relabelling agrees far better with the predictions")
    return suspect(
        "labels",
        f"the labels look permuted: predictions agree with {found.as_given} of {found.rows} as"
        f" given, with {found.relabelled} when {found.num_moved} classes change places",
    )
