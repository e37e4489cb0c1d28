"""Feeds of boxes: stored, live and held for a study know the same rows, reasons and counts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import protocols
from bench.config import Machine, RunConfig
from bench.data.manifest import Task
from bench.data.views.pixel_recipe import Recipe
from bench.errors import DataError
from bench.evaluate.prepare import PreparedRun
from bench.evaluate.split_features import RunFeatures
from bench.studies.low_shot_features import StudyFeatures
from bench.types import FeatureSource, Silent
from tests.features.small import extraction_of, tiny_encoder
from tests.features.small_boxes import (
    FLIPPED,
    PLAN,
    RECIPE,
    REGION,
    SECONDS,
    make_box_manifest,
    make_box_videos,
)

BOTH = ("vector", "tokens")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_box_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def feeds_of(videos: list[Path], tmp_path: Path) -> Callable[..., RunFeatures]:
    """Feeds whose score split has a key frame behind the end of a video, and a missing video."""
    encoder = tiny_encoder()
    fit = make_box_manifest(videos, ([0, 1, 2], *SECONDS[1:]))
    score = make_box_manifest([*videos[:2], tmp_path / "gone.mp4"], (range(10, 15), *SECONDS[1:]))

    def make(
        features: str = "auto",
        kind: type[RunFeatures] = RunFeatures,
        fit_recipe: Recipe = RECIPE,
        **how: Any,
    ) -> RunFeatures:
        task = Task(
            name="boxes",
            title="Boxes",
            fit=fit,
            score=replace(score, split="val"),
            fit_plan=PLAN,
            score_plan=PLAN,
            metric="mean_ap",
            readout=REGION,
        )
        made = extraction_of(encoder, task.score, recipe=RECIPE, region=REGION)
        draws = 0 if fit_recipe is RECIPE else None
        prepared = PreparedRun(
            config=RunConfig(
                encoder="tiny", task="boxes", probe="linear", features=features, **how
            ),
            task=task,
            protocol=protocols.honest(),
            fit=replace(made, manifest=fit, recipe=fit_recipe, draws=draws),
            score=made,
            deviations=[],
        )
        return kind(prepared, Machine(home=tmp_path / "home", workers=0), BOTH, Silent())

    return make


def epoch(source: FeatureSource) -> torch.Tensor:
    return torch.cat([batch.x for batch in source.epoch(0, batch_size=5)])


def test_stored_and_live_boxes_have_the_same_rows_reasons_and_counts(
    feeds_of: Callable[..., RunFeatures],
) -> None:
    found = []
    for features in ("stored", "live"):
        feeds = feeds_of(features, on_unreadable="skip")
        for split in (feeds.fit, feeds.score):
            feeds.open(split)
        assert set(feeds.score.modes.values()) == {features}
        found.append(feeds)
    stored, live = found
    for a, b in ((stored.fit, live.fit), (stored.score, live.score)):
        assert a.rows.tolist() == b.rows.tolist()
        assert sorted(a.missing) == sorted(b.missing)
        assert a.undecodable == b.undecodable
        assert a.counts.decoders == b.counts.decoders == {"pyav": len(a.rows)}
        assert a.counts.repeated_frames == b.counts.repeated_frames
    assert stored.fit.counts.repeated_frames > 0
    assert stored.score.missing and stored.score.undecodable
    for reads in BOTH:
        for split, other in ((stored.fit, live.fit), (stored.score, live.score)):
            x, y = stored.source(split, reads), live.source(other, reads)
            assert x.groups.tolist() == y.groups.tolist()
            torch.testing.assert_close(epoch(x), epoch(y), rtol=2**-10, atol=2**-10)


def test_second_probe_on_stored_boxes_decodes_nothing(feeds_of: Callable[..., RunFeatures]) -> None:
    feeds = feeds_of("stored", on_unreadable="skip")
    for run, reads in enumerate((*BOTH, "vector")):
        feeds.begin_run(reads)
        for split in (feeds.fit, feeds.score):
            feeds.open(split)
            assert (split.counts.decoded > 0) == (run == 0)
            assert split.counts.decoders == {"pyav": len(split.rows)}
    again = feeds_of("stored", on_unreadable="skip")
    again.open(again.fit)
    assert (again.fit.counts.decoded, again.fit.counts.encoder_calls) == (0, 0)


def test_boxes_that_cannot_be_read_stop_a_run_unless_told_otherwise(
    feeds_of: Callable[..., RunFeatures],
) -> None:
    for features in ("stored", "live"):
        feeds = feeds_of(features)
        with pytest.raises(DataError, match=r"missing and .* cannot be decoded"):
            feeds.open(feeds.score)


def test_study_holds_live_boxes_and_cuts_them(feeds_of: Callable[..., RunFeatures]) -> None:
    feeds = feeds_of("live", kind=StudyFeatures, on_unreadable="skip")
    for split in (feeds.fit, feeds.score):
        feeds.hold(split)
    stored = feeds_of("stored", on_unreadable="skip")
    stored.open(stored.score)
    assert feeds.score.rows.tolist() == stored.score.rows.tolist()
    assert feeds.score.undecodable == stored.score.undecodable
    assert feeds.score.counts.decoders == stored.score.counts.decoders
    rows = np.array([1, 4, 9])
    task = feeds.prepared.task
    cut = feeds.cut(task.fit.subset(rows))
    assert cut.fit.counts.decoders == {"pyav": 3}
    for reads in BOTH:
        part, whole = cut.source(cut.fit, reads), feeds.source(feeds.fit, reads)
        assert torch.equal(epoch(part), epoch(whole)[rows])
        assert part.groups.tolist() == task.fit.regions.video[rows].tolist()
    assert cut.fit.counts.decoded == 0


def test_fresh_draws_of_boxes_are_live(feeds_of: Callable[..., RunFeatures]) -> None:
    feeds = feeds_of(fit_recipe=FLIPPED)
    feeds.open(feeds.fit)
    source = feeds.source(feeds.fit, "vector")
    first, second = (list(source.epoch(number, batch_size=64)) for number in (0, 1))
    assert not torch.equal(first[0].x, second[0].x)
    assert torch.equal(first[0].y, second[0].y)
