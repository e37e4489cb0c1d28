"""Detect permuted labels of the scored rows from the predictions."""

from __future__ import annotations

import torch

from bench.data.manifest import Manifest
from bench.errors import DataError
from bench.evaluate.fit_and_score import Probabilities
from bench.metrics.accuracy import predict as top_class
from bench.metrics.relabelling import Relabelling, find_relabelling
from bench.types import IntArray


class PermutedLabels(DataError):  # noqa: N818 (it names a state of the data)
    """Predictions agree far better with a relabelling than with the given labels."""


def check_labels(
    probabilities: Probabilities, labels: IntArray, manifest: Manifest, *, keep: bool
) -> Relabelling | None:
    """Check whether the labels of the scored rows seem to be permuted.

    `probabilities` are `[rows, C]`, `labels` int64 `[rows]`; `manifest` names the split. With
    `keep` the caller records an alarm (`permuted_labels` describes it). Returns None if rows may
    have several labels, for which there is no such test.

    Raises:
        PermutedLabels: predictions agree far better with a relabelling.
    """
    if labels.ndim > 1:
        return None
    predicted = top_class(torch.from_numpy(probabilities)).numpy()
    found = find_relabelling(predicted, labels, probabilities.shape[1])
    if found.alarm and not keep:
        raise PermutedLabels(
            f"{permuted_labels(found, manifest)} Check the order of the classes: the label map"
            " (--set task.classes=FILE), or that of a released head (--head-classes FILE). To keep"
            " the labels, use --set on_permuted_labels=keep, which marks the record as suspect."
        )
    return found


def permuted_labels(found: Relabelling, manifest: Manifest) -> str:
    """Describe how labels disagree with predictions, with both numbers and examples."""
    names = manifest.classes
    moved = ""
    if found.moved_rows < found.rows:
        moved = (
            f" (in the rows of moved classes {_share(found.moved_as_given, found.moved_rows)} as"
            f" given, {_share(found.moved_relabelled, found.moved_rows)} relabelled)"
        )
    examples = "; ".join(
        f"{names[move.label]!r} is predicted as {names[move.predicted_as]!r} in {move.relabelled}"
        f" of {move.rows} rows, as itself in {move.as_given}"
        for move in found.moves[:3]
    )
    return (
        f"{manifest.name} {manifest.split}: the labels look permuted. Predictions agree with"
        f" {_share(found.as_given, found.rows)} of the labels as given, and with"
        f" {_share(found.relabelled, found.rows)} when {found.num_moved} of {len(names)} classes"
        f" change places{moved}; {examples}."
    )


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} % ({count:,} of {total:,})"
