"""Fitting and scoring rows with several labels, and the looks at labels that need one a row."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench import registry
from bench.data.boxes.regions import Regions
from bench.data.manifest import Manifest
from bench.data.media.media import MediaColumn
from bench.errors import UsageError
from bench.evaluate.fit_and_score import check_label_kind, fit_and_score
from bench.evaluate.permuted_labels import check_labels
from bench.evaluate.released_head import for_learning_head_order, learn_head_order
from bench.metrics.multilabel import mean_average_precision
from bench.types import Silent
from probes.knn import knn
from probes.linear import linear
from probes.logistic import logistic
from tests.probes.sources import several_labels

CPU = torch.device("cpu")


def manifest(labels: list[list[int]], *, boxes: bool) -> Manifest:
    rows = len(labels)
    media = MediaColumn.of_files(Path("/m"), ["v.mp4"])
    regions = Regions.of(
        videos=["v"],
        media=media,
        video=np.zeros(rows, dtype=np.int64),
        micros=np.arange(rows),
        corners=np.tile([0.0, 0.0, 1.0, 1.0], (rows, 1)),
    )
    return Manifest(
        name="own",
        split="val",
        kind="video",
        ids=[str(row) for row in range(rows)],
        media=regions.by_row,
        labels=np.asarray(labels, dtype=np.int64),
        classes=["a", "b", "c"],
        regions=regions if boxes else None,
    )


def test_linear_sweep_is_chosen_on_held_out_videos_and_scores_every_class_for_itself() -> None:
    train = several_labels(rows=200, classes=6, width=12, seed=1)
    train.groups = np.arange(200) // 8
    score = several_labels(rows=90, classes=6, width=12, seed=2)
    scored = fit_and_score(
        linear(epochs=20, batch_size=32, lr=(1e-7, 1e-2), warmup=2.0, start_lr=1e-7),
        registry.build("protocols", "honest@1", {}),
        train,
        score,
        seed=0,
        device=CPU,
        progress=Silent(),
    )
    # 25 videos, of which 2.5, rounded up to 3, are held out with their 8 rows each.
    assert scored.selected.head == 1 and scored.selected.holdout_rows == 24
    low, high = scored.selected.holdout_scores
    assert low < 0.8 < high
    assert scored.probabilities.shape == (90, 6)
    assert mean_average_precision(scored.probabilities, score.labels) > 0.9
    assert np.abs(scored.probabilities.sum(axis=1) - 1).max() > 0.5


def test_no_permutation_is_looked_for_among_several_labels() -> None:
    labels = np.eye(3, dtype=np.int64).repeat(50, axis=0)
    exchanged = labels[:, [1, 0, 2]].astype(np.float32)
    split = manifest(labels, boxes=True)
    assert check_labels(exchanged, labels, split, keep=False) is None
    found = check_labels(exchanged, labels.argmax(axis=1), split, keep=True)
    assert found is not None and found.alarm


@pytest.mark.parametrize(("boxes", "several"), [(True, True), (True, False), (False, True)])
def test_head_order_is_not_learned_from_boxes_or_several_labels(boxes: bool, several: bool) -> None:
    labels = np.eye(3, dtype=np.int64) if several else np.arange(3)
    fit = manifest(labels, boxes=boxes)
    prepared = SimpleNamespace(task=SimpleNamespace(fit=fit))
    said = r"one label each, but rows of own are boxes or may have several.*--head-classes FILE"
    with pytest.raises(UsageError, match=said):
        for_learning_head_order(prepared, 5)
    with pytest.raises(UsageError, match=said):
        learn_head_order(None, None, fit, device=CPU, progress=Silent())


def test_probes_refuse_several_labels_before_there_are_features() -> None:
    several = manifest(np.eye(3, dtype=np.int64), boxes=True)
    for probe in (knn(), logistic()):
        with pytest.raises(UsageError, match="use probe linear or attentive"):
            check_label_kind(probe, several)
        check_label_kind(probe, manifest(np.arange(3), boxes=True))
    check_label_kind(linear(), several)
