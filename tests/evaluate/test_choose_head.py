"""Choosing a head on held-out training rows, with a probe whose heads guess by given rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pytest
import torch

from bench import registry
from bench.data.splits import group_holdout
from bench.errors import UsageError
from bench.evaluate.choose_head import Selected
from bench.evaluate.fit_and_score import fit_and_score
from bench.metrics.frame_matching import average_precision
from bench.types import Head, Probe, Progress, Silent
from tests.probes.sources import MemorySource

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class ScriptedProbe:
    """Head h says what column h of the features says; `fits` notes the rows of every fit."""

    heads: tuple[Head, ...]
    fits: list[tuple[int, int]]
    drops: tuple[int, ...] = ()
    name: str = "scripted"
    reads: str = "vector"
    settings = {}  # noqa: RUF012

    def only(self, index: int) -> Self:
        return replace(self, heads=(self.heads[index],), drops=())

    def fit(
        self, source: MemorySource, *, seed: int, device: torch.device, progress: Progress
    ) -> ScriptedFit:
        self.fits.append((len(source), len(self.heads)))
        kept = tuple(h for i, h in enumerate(self.heads) if i not in self.drops)
        return ScriptedFit(heads=kept, classes=source.num_classes)


@dataclass(frozen=True, kw_only=True)
class ScriptedFit:
    heads: tuple[Head, ...]
    classes: int
    log = {"note": "kept"}  # noqa: RUF012

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        says = [x[:, 0, head.settings["column"]].long() for head in self.heads]
        return torch.stack([torch.nn.functional.one_hot(s, self.classes) for s in says]).float()


def scripted(columns: int, **options: Any) -> ScriptedProbe:
    heads = tuple(Head(settings={"column": c}) for c in range(columns))
    return ScriptedProbe(heads=heads, fits=[], **options)


def source_with_accuracies(*shares: float, rows: int = 200) -> MemorySource:
    """Column c is right for exactly the given share of the rows, spread over all classes."""
    y = torch.arange(rows) % 2
    columns = []
    for share in shares:
        wrong = torch.arange(rows) // 2 % 100 >= round(100 * share)
        columns.append(torch.where(wrong, 1 - y, y))
    return MemorySource(torch.stack(columns, dim=1)[:, None].float(), y, 2)


def select(
    protocol: str,
    probe: Probe,
    source: MemorySource,
    score: MemorySource | None = None,
    seed: int = 0,
) -> Selected:
    """What the protocol chooses; where a test says nothing of scored rows, they are the source."""
    scored = fit_and_score(
        probe,
        registry.build("protocols", protocol, {}),
        source,
        source if score is None else score,
        seed=seed,
        device=CPU,
        progress=Silent(),
    )
    return scored.selected


def honest(probe: ScriptedProbe, source: MemorySource, seed: int = 0) -> Selected:
    return select("honest@1", probe, source, seed=seed)


def test_best_head_on_held_out_rows_is_refitted_alone_on_all_rows() -> None:
    probe = scripted(3)
    selected = honest(probe, source_with_accuracies(0.2, 1.0, 0.5))
    assert selected.head == 1 and selected.refit
    assert selected.holdout_rows == 20
    assert selected.holdout_scores[1] == 1.0
    assert max(selected.holdout_scores[0], selected.holdout_scores[2]) < 1.0
    assert probe.fits == [(180, 3), (200, 1)]
    assert [head.settings for head in selected.fitted.heads] == [{"column": 1}]


def test_ties_go_to_the_first_head() -> None:
    assert honest(scripted(3), source_with_accuracies(0.0, 1.0, 1.0)).head == 1


def test_dropped_head_has_no_accuracy_and_is_never_chosen() -> None:
    selected = honest(scripted(3, drops=(0,)), source_with_accuracies(1.0, 0.3, 0.9))
    assert selected.head == 2
    assert selected.holdout_scores[0] is None


def test_one_head_is_fitted_at_once() -> None:
    probe = scripted(1)
    selected = honest(probe, source_with_accuracies(0.5))
    assert probe.fits == [(200, 1)]
    assert (selected.holdout_rows, selected.holdout_scores) == (0, ())
    assert not selected.refit


def test_sweep_under_a_protocol_with_one_head_is_refused() -> None:
    with pytest.raises(UsageError, match=r"has 2: .*honest@1"):
        select("vjepa@1", scripted(2), source_with_accuracies(0.5, 0.5))


@dataclass(frozen=True, kw_only=True)
class CutFit(ScriptedFit):
    def only(self, index: int) -> Self:
        return replace(self, heads=(self.heads[index],))


@dataclass(frozen=True, kw_only=True)
class CutProbe(ScriptedProbe):
    def fit(
        self, source: MemorySource, *, seed: int, device: torch.device, progress: Progress
    ) -> CutFit:
        made = super().fit(source, seed=seed, device=device, progress=progress)
        return CutFit(heads=made.heads, classes=made.classes)


def best_on_score(probe: ScriptedProbe, source: MemorySource, score: MemorySource) -> Selected:
    return select("vjepa2@1", probe, source, score)


def test_best_head_on_the_score_split_is_kept_of_one_fit_on_all_rows() -> None:
    heads = tuple(Head(settings={"column": c}) for c in range(4))
    probe = CutProbe(heads=heads, fits=[], drops=(1,))
    train = source_with_accuracies(1.0, 0.1, 0.2, 0.3)
    score = source_with_accuracies(0.5, 1.0, 0.8, 0.8)  # head 1 was dropped, ties go to the first
    selected = best_on_score(probe, train, score)
    assert probe.fits == [(200, 4)]  # nothing is held out and nothing is fitted again
    assert selected.head == 2 and not selected.refit
    assert selected.score_split_scores == (0.5, None, 0.8, 0.8)
    assert selected.holdout_scores == () and selected.holdout_rows == 0
    assert [head.settings for head in selected.fitted.heads] == [{"column": 2}]


def test_one_head_has_nothing_to_be_chosen_from_on_the_score_split() -> None:
    probe = scripted(1)
    source = source_with_accuracies(0.5)
    selected = best_on_score(probe, source, source)
    assert selected.head == 0 and selected.score_split_scores == ()


def test_fits_that_cannot_be_cut_down_to_one_head_are_refused() -> None:
    source = source_with_accuracies(0.5, 0.6)
    with pytest.raises(UsageError, match=r"no method `only`.*honest@1"):
        best_on_score(scripted(2), source, source)


def test_too_few_rows_to_hold_any_out_are_refused() -> None:
    source = MemorySource(torch.zeros(2, 1, 2), torch.tensor([0, 1]), 2)
    with pytest.raises(UsageError, match="hold"):
        honest(scripted(2), source)


def test_selection_on_noise_stays_at_chance_while_the_best_on_the_score_split_does_not() -> None:
    # 16 heads guess among 4 classes on 120 training and 60 scored rows, 60 times over.
    rng = np.random.default_rng(0)
    chosen, best = [], []
    for _ in range(60):
        columns = torch.from_numpy(rng.integers(4, size=(180, 1, 16))).float()
        y = torch.from_numpy(rng.permutation(np.arange(180) % 4))
        fit, score = (MemorySource(columns[r], y[r], 4) for r in (slice(120), slice(120, 180)))
        selected = honest(scripted(16), fit)
        every = (score.x[:, 0].long() == score.y[:, None]).double().mean(dim=0)
        chosen.append(every[selected.head].item())
        best.append(every.max().item())
    error = math.sqrt(0.25 * 0.75 / (60 * 60))
    assert abs(np.mean(chosen) - 0.25) <= error
    assert np.mean(best) > 0.25 + 5 * error


# ------------------------------------------------------------------------- groups, several labels
@dataclass(frozen=True, kw_only=True)
class RowsProbe(ScriptedProbe):
    """A scripted probe that notes the videos (column 0) it was fitted on and asked about."""

    seen: list[set[int]]

    def fit(
        self, source: MemorySource, *, seed: int, device: torch.device, progress: Progress
    ) -> RowsFit:
        self.seen.append(set(source.x[:, 0, 0].long().tolist()))
        return RowsFit(heads=self.heads, classes=source.num_classes, seen=self.seen)


@dataclass(frozen=True, kw_only=True)
class RowsFit(ScriptedFit):
    seen: list[set[int]]

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(set(x[:, 0, 0].long().tolist()))
        return super().probabilities(x)


def test_whole_videos_are_held_out_although_no_class_is_then_stratified() -> None:
    # 25 videos of 1 to 25 rows; a tenth of 25 videos is 2.5, rounded up to 3.
    video = np.repeat(np.arange(25), np.arange(1, 26))
    x = torch.from_numpy(np.stack([video, video % 2], axis=1))[:, None].float()
    source = MemorySource(x, torch.from_numpy(video % 2), 26, groups=10 * video + 3)
    score = MemorySource(torch.tensor([[[25.0, 0.0]]]), torch.tensor([0]), 26)
    probe = RowsProbe(heads=scripted(2).heads, fits=[], seen=[])
    selected = select("honest@1", probe, source, score)
    seen = [rows for rows in probe.seen if rows != {25}]
    fitted, asked = seen[0], set.union(*seen[1:-1])
    assert len(asked) == 3 and fitted | asked == set(range(25)) and not fitted & asked
    assert seen[-1] == set(range(25))
    assert selected.holdout_rows == sum(video_ + 1 for video_ in asked)
    assert selected.head == 1 and selected.holdout_scores[1] == 1.0


def test_one_video_cannot_be_held_out() -> None:
    source = source_with_accuracies(0.5, 1.0)
    source.groups = np.full(200, 7)
    with pytest.raises(
        UsageError, match=r"all 200 training rows come from one video.*a single value"
    ):
        honest(scripted(2), source)


@dataclass(frozen=True, kw_only=True)
class ScoresFit(ScriptedFit):
    """Head h gives class c the feature in column `classes * h + c`."""

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x[:, 0, h.settings["column"] + torch.arange(self.classes)] for h in
                            self.heads])  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ScoresProbe(ScriptedProbe):
    def fit(
        self, source: MemorySource, *, seed: int, device: torch.device, progress: Progress
    ) -> ScoresFit:
        kept = tuple(h for i, h in enumerate(self.heads) if i not in self.drops)
        return ScoresFit(heads=kept, classes=source.num_classes)


def scores_probe(heads: int, classes: int, **options: Any) -> ScoresProbe:
    made = tuple(Head(settings={"column": classes * h}) for h in range(heads))
    return ScoresProbe(heads=made, fits=[], **options)


def several_labels(
    heads_noise: Sequence[float], *, rows: int = 80, classes: int = 3, seed: int = 0
) -> MemorySource:
    """Scores are the labels and noise; the last class has no positive. 10 rows a video."""
    rng = np.random.default_rng(seed)
    y = (rng.random((rows, classes)) < 0.4).astype(np.int64)
    y[:, -1] = 0
    columns = [y + noise * rng.normal(size=y.shape) for noise in heads_noise]
    x = torch.from_numpy(np.concatenate(columns, axis=1))[:, None].float()
    return MemorySource(x, torch.from_numpy(y), classes, groups=np.arange(rows) // 10)


def test_head_is_chosen_by_the_mean_ap_of_classes_with_a_positive_among_held_out_rows() -> None:
    source = several_labels([3.0, 0.05, 0.5])
    selected = honest(scores_probe(3, 3), source)
    _, held_out = group_holdout(source.groups, seed=0)
    assert selected.holdout_rows == len(held_out) == 10
    expected = [
        np.mean(
            [
                average_precision(
                    source.x[held_out, 0, 3 * head + c].numpy(),
                    source.labels[held_out, c] == 1,
                    int(source.labels[held_out, c].sum()),
                )
                for c in range(2)
            ]
        )
        for head in range(3)
    ]
    assert selected.holdout_scores == pytest.approx(expected, rel=1e-12)
    assert selected.head == 1 and selected.holdout_scores[1] == 1.0


def test_dropped_head_and_ties_are_as_with_one_label_a_row() -> None:
    selected = honest(scores_probe(3, 3, drops=(0,)), several_labels([0.0, 0.0, 0.0]))
    assert selected.holdout_scores == (None, 1.0, 1.0) and selected.head == 1


def test_rows_without_groups_are_held_out_one_by_one() -> None:
    source = several_labels([0.5, 0.0])
    source.groups = None
    assert honest(scores_probe(2, 3), source).holdout_rows == 8


def test_held_out_rows_without_any_label_cannot_choose() -> None:
    source = several_labels([0.5, 0.0])
    _, held_out = group_holdout(source.groups, seed=0)
    source.y[held_out] = 0
    with pytest.raises(UsageError, match="none of the 10 training rows held out"):
        honest(scores_probe(2, 3), source)
