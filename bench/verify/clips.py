"""Predictions of clips: is every row of the manifest there once, and do they give the numbers?"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.data.manifest import manifest_digest
from bench.metrics.relabelling import find_relabelling
from bench.records.predictions import Rows, read_rows
from bench.records.record import Record
from bench.records.record_files import prediction_facts
from bench.types import BoolArray, IntArray
from bench.verify.findings import Finding, all_of, failed, ok, suspect, unchecked
from bench.verify.own_words import Opened
from bench.verify.recount import Counted, check_metrics, content_digest

STATUSES = ("scored", "missing", "undecodable")
OLD_STATUS = "unreadable"  # schema 1 did not tell the two apart
MOST = 1 + 1e-4  # a probability, with rounding
SUM_ROUNDING = 1e-3  # of float32 probabilities, averaged over views


def check_clips(opened: Opened, result: Record) -> tuple[list[Finding], Counted]:
    """Check the predictions of a record of clips; the file is there."""
    path = opened.place("predictions")
    try:
        rows = read_rows(path, result)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        return [failed("rows", f"{path.name}: {reason}")], Counted()
    content = content_digest(rows.probabilities, rows.scored, beside=rows.classes)
    right = np.packbits(rows.right).tobytes().hex()
    found = [
        all_of("rows", _row_problems(rows, result), f"{len(rows.ids):,} rows, each once"),
        _manifest(rows, opened, result),
        check_metrics(rows, result),
        _labels(rows, result),
    ]
    first = rows.predicted[:1]
    if len(rows.predicted) < 2 or len(np.unique(rows.labels)) < 2:
        found.append(ok("constant", "there is one class, or one row"))
    elif (rows.predicted == first).all():
        found.append(suspect("constant", f"every row is predicted as class {first[0]}"))
    else:
        num_classes = len(np.unique(rows.predicted))
        found.append(ok("constant", f"{num_classes} classes are predicted"))
    return found, Counted(content=content, right=right, rows=len(rows.ids))


# --------------------------------------------------------------------------------------------- rows
def _row_problems(rows: Rows, result: Record) -> list[str]:
    num_classes = result.task.num_classes
    problems = [
        *rows.problems,
        *listing_problems(rows.numbers, rows.ids, rows.statuses, result),
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
        "has a probability that is no number from 0 to 1": ~((values >= 0) & (values <= MOST)),
        "lists classes out of order": (values[:, 1:] > values[:, :-1]) | equal,
        "has probabilities that add up to more than 1": total > 1 + SUM_ROUNDING,
        "is not predicted as its most probable class": rows.predicted[:, None] != classes[:, :1],
    }
    numbers = np.flatnonzero(rows.scored)
    for words, where in bad.items():
        at = np.flatnonzero(where.any(axis=1))
        if len(at):
            problems.append(f"row {numbers[at[0]]} ({rows.ids[int(numbers[at[0]])]!r}) {words}")
    return problems


def listing_problems(
    numbers: IntArray, ids: Sequence[str], statuses: npt.NDArray[np.str_], result: Record
) -> list[str]:
    """Return where rows, of clips or of boxes, are not those that the record lists, each once."""
    problems = []
    if len(ids) != result.data.score.listed:
        problems.append(f"{len(ids)} rows, the record lists {result.data.score.listed}")
    if wrong := np.flatnonzero(numbers != np.arange(len(numbers))).tolist():
        problems.append(
            f"row {wrong[0]} is numbered {numbers[wrong[0]]}, rows count from 0 without gaps"
        )
    return problems + _twins(ids) + _fates(ids, statuses, result)


def _twins(ids: Sequence[str]) -> list[str]:
    first: dict[str, int] = {}
    for row, sample in enumerate(ids):
        if first.setdefault(sample, row) != row:
            return [f"{sample!r} stands in rows {first[sample]} and {row}"]
    return []


def _fates(ids: Sequence[str], statuses: npt.NDArray[np.str_], result: Record) -> list[str]:
    """Return where scored, missing and undecodable rows are not those of the record."""
    score, problems = result.data.score, []
    number = {name: int((statuses == name).sum()) for name in (*STATUSES, OLD_STATUS)}
    if sum(number.values()) != len(ids):
        unknown = sorted(set(statuses.tolist()) - set(number))
        problems.append(f"status {unknown[0]!r} is unknown")
    if number["scored"] != score.used:
        problems.append(f"{number['scored']} rows are scored, the record used {score.used}")
    stated = {"missing": set(score.missing), "undecodable": set(score.undecodable)}
    if number[OLD_STATUS]:
        stated = {OLD_STATUS: stated["missing"] | stated["undecodable"]}
    for status, known in stated.items():
        own = {ids[row] for row in np.flatnonzero(statuses == status).tolist()}
        if own != known:
            odd = sorted(own ^ known)[0]
            problems.append(f"{odd!r} is {status} in only one of predictions and record")
    if score.lost and result.config.get("on_unreadable", "stop") == "stop":
        problems.append(f"{score.lost} rows were lost in a run that stops at unreadable ones")
    return problems


def _manifest(rows: Rows, opened: Opened, result: Record) -> Finding:
    classes = _class_names(opened, result)
    if classes is None:
        sentence = "class names are not kept, so its digest cannot be computed"
        return (failed if opened.is_sealed else unchecked)("manifest", sentence)
    own, wrong = manifest_digest(rows.ids, rows.labels.tolist(), classes), ""
    if any("\n" in name for name in (*rows.ids, *classes)):
        wrong = (
            "an id or a class name has a line break, so that its digest is that of other rows too"
        )
    elif len(classes) != result.task.num_classes:
        wrong = f"{len(classes)} class names are kept of {result.task.num_classes} classes"
    elif own != result.data.score.digest:
        wrong = (
            f"ids, labels and class names give the digest {own[:12]}, the record is of"
            f" {result.data.score.digest[:12]}: rows or labels are not those that were scored"
        )
    if wrong:
        return failed("manifest", wrong)
    return ok("manifest", "ids, labels and class names give the digest of the record")


def _class_names(opened: Opened, result: Record) -> list[str] | None:
    """Return the class names kept with the predictions, else with a probe that is the record's."""
    said = prediction_facts(opened.place("predictions")) or {}
    held = said.get("classes")
    probe = result.artifacts.probe
    if held is None and probe is not None and opened.files.get("probe") == probe.sha256:
        try:
            content = json.loads(opened.place("probe").read_text(encoding="utf-8"))
        except (ValueError, OSError):
            return None
        facts = content.get("facts") if isinstance(content, dict) else None
        held = facts.get("classes") if isinstance(facts, dict) else None
    if not isinstance(held, list) or not all(isinstance(name, str) for name in held):
        return None
    # JSON may spell half a character, which cannot be written.
    is_text = not any("\ud800" <= character <= "\udfff" for name in held for character in name)
    return held if is_text else None


# ------------------------------------------------------------------------------------------ signs
def _labels(rows: Rows, result: Record) -> Finding:
    num_classes, labels = result.task.num_classes, rows.labels[rows.scored]
    both = np.concatenate([labels, rows.predicted])
    if not len(labels) or ((both < 0) | (both >= num_classes)).any():
        return unchecked("labels", "there are no rows to compare with a relabelling")
    found = find_relabelling(rows.predicted, labels, num_classes)
    if not found.alarm:
        return ok("labels", "no relabelling agrees far better than the labels")
    return suspect(
        "labels",
        f"the labels look permuted: predictions agree with {found.as_given} of {found.rows} as"
        f" given, with {found.relabelled} when {found.num_moved} classes change places",
    )
