"""Health: numbers worked out by hand on made features, and which histories are a collapse."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from bench.encoders.networks.video_vit import VitArchitecture, fresh_vit, gather_tokens
from bench.pretrain.health import (
    Health,
    HealthMeter,
    effective_rank,
    feature_health,
    find_collapse,
    health_history,
    relative_std,
)
from bench.pretrain.masks import MultiBlock, draw_masks
from bench.pretrain.objective import target_features

HEALTHY = Health(
    num_clips=256,
    feature_std=0.1,
    token_std=0.4,
    relative_std=0.13,
    effective_rank=3.0,
    target_norm=7.0,
    similarity=0.7,
)


def noise(*shape: object, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_numbers_of_two_clips_are_those_worked_out_by_hand() -> None:
    # Clip means (2, 0) and (0, 2); their mean (1, 1); each lies sqrt(2) from it and is 2 long.
    features = torch.tensor([[[3.0, 0.0], [1.0, 0.0]], [[0.0, 2.0], [0.0, 2.0]]])
    health = feature_health(features)
    assert health.feature_std == pytest.approx(1.0)
    assert health.relative_std == pytest.approx(math.sqrt(2) / 2)
    # Tokens: 3, 1, 0, 0 (mean 1, variance 1.5) and 0, 0, 2, 2 (mean 1, variance 1).
    assert health.token_std == pytest.approx((math.sqrt(1.5) + 1) / 2)
    assert health.target_norm == pytest.approx((3 + 1 + 2 + 2) / 4)
    assert health.effective_rank == pytest.approx(1.0)  # two points span a line
    assert health.similarity == pytest.approx(1.0)  # the tokens of a clip are parallel


def test_similarity_is_the_mean_cosine_over_pairs_of_tokens_of_a_clip() -> None:
    features = noise(3, 5, 4)
    cosines = [
        functional.cosine_similarity(clip[i], clip[j], dim=0)
        for clip in features
        for i in range(5)
        for j in range(5)
        if i != j
    ]
    expected = float(torch.stack(cosines).mean())
    assert feature_health(features).similarity == pytest.approx(expected, abs=1e-5)


def test_one_token_a_clip_is_measured_too() -> None:
    health = feature_health(noise(6, 1, 4))
    assert health.is_finite and health.similarity == 1.0


@pytest.mark.parametrize(("rank", "num_clips"), [(1, 6), (2, 6), (1, 200), (2, 200), (5, 200)])
def test_effective_rank_of_equal_orthogonal_directions_is_their_number(
    rank: int, num_clips: int
) -> None:
    # Columns of sin and cos are exactly orthogonal, centred and of one length.
    angles = 2 * math.pi * torch.arange(num_clips).double() / num_clips
    waves = [(torch.sin, torch.cos)[k % 2]((k // 2 + 1) * angles) for k in range(rank)]
    turned = torch.linalg.qr(noise(8, 8).double()).Q[:rank]
    clips = torch.stack(waves, dim=1) @ turned + 4.0
    assert effective_rank(clips) == pytest.approx(rank, rel=1e-6)


def test_effective_rank_of_unequal_directions_is_the_exponential_of_the_entropy() -> None:
    # Variances 3 and 1: shares 3/4 and 1/4.
    clips = torch.tensor([[math.sqrt(3), 0], [-math.sqrt(3), 0], [0, 1], [0, -1]]).double()
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(clips) == pytest.approx(math.exp(entropy))


def test_isotropic_features_have_nearly_full_rank() -> None:
    assert 15.5 < effective_rank(noise(5000, 16)) <= 16.0


def test_constant_features_have_no_rank_no_spread_and_one_direction_of_tokens() -> None:
    health = feature_health(noise(1, 1, 8).expand(20, 6, 8))
    assert health.effective_rank == 0.0
    assert health.relative_std == pytest.approx(0.0, abs=1e-7)
    assert health.feature_std == pytest.approx(0.0, abs=1e-6)
    assert health.similarity == pytest.approx(1.0, abs=1e-5)


def test_all_zero_features_are_measured_as_constant() -> None:
    health = feature_health(torch.zeros(4, 3, 8))
    assert health.is_finite and health.effective_rank == health.relative_std == 0.0


def test_features_that_depend_on_the_position_alone_have_no_relative_std_but_a_token_std() -> None:
    health = feature_health(noise(1, 6, 8).expand(20, 6, 8))
    assert health.relative_std < 1e-6 and health.token_std > 0.5 and health.similarity < 0.9


def test_relative_std_is_free_of_scale() -> None:
    clips = noise(50, 8) + 1.0
    assert relative_std(1000 * clips) == pytest.approx(relative_std(clips))


def test_clips_in_parts_give_the_numbers_of_all_at_once() -> None:
    features = noise(10, 6, 8) + 1.0
    meter = HealthMeter()
    for start, stop in ((0, 3), (3, 4), (4, 10)):
        meter.add(features[start:stop])
    whole = feature_health(features).as_dict()
    assert meter.health().as_dict() == pytest.approx(whole, rel=1e-5)


def test_feature_that_is_not_finite_makes_all_numbers_nan() -> None:
    features = noise(4, 6, 8)
    features[2, 3, 1] = torch.inf
    health = feature_health(features)
    values = health.as_dict()
    assert values.pop("num_clips") == 4
    assert not health.is_finite and all(math.isnan(value) for value in values.values())


def series(
    values: Sequence[Health], first_step: int = 0, every: int = 50
) -> list[tuple[int, Health]]:
    return [(first_step + every * i, value) for i, value in enumerate(values)]


def with_std(*values: float) -> list[tuple[int, Health]]:
    return series([replace(HEALTHY, relative_std=value) for value in values])


def test_dip_of_a_healthy_start_is_no_collapse() -> None:
    # As measured on moving digits, every 50 steps.
    stds = (0.133, 0.103, 0.063, 0.067, 0.123, 0.141, 0.179, 0.227, 0.263)
    ranks = (3.1, 4.5, 6.6, 4.0, 1.7, 1.6, 1.5, 1.44, 1.46)
    history = series(
        [
            replace(HEALTHY, relative_std=s, effective_rank=r)
            for s, r in zip(stds, ranks, strict=True)
        ]
    )
    assert all(find_collapse(history[:end]) is None for end in range(len(history) + 1))


def test_collapse_is_named_when_clips_stay_alike_although_the_rank_of_the_noise_is_high() -> None:
    # As measured with no moving average and no predictor.
    stds = (0.133, 0.058, 0.0155, 0.0062, 0.0044, 0.0040)
    ranks = (3.1, 8.2, 6.4, 5.2, 4.5, 4.0)
    history = series(
        [
            replace(HEALTHY, relative_std=s, effective_rank=r)
            for s, r in zip(stds, ranks, strict=True)
        ]
    )
    assert find_collapse(history[:5]) is None  # two low measurements are no collapse yet
    said = find_collapse(history)
    assert said is not None and "steps 150 to 250" in said and "0.004" in said and "0.13" in said


def test_alarm_ends_when_the_features_recover() -> None:
    assert find_collapse(with_std(0.13, 0.001, 0.001, 0.001)) is not None
    assert find_collapse(with_std(0.13, 0.001, 0.001, 0.001, 0.1)) is None


def test_run_that_begins_collapsed_is_named_by_the_absolute_limit() -> None:
    assert find_collapse(with_std(0.002, 0.002, 0.002)) is not None


def test_features_along_one_direction_are_a_collapse() -> None:
    history = series([replace(HEALTHY, effective_rank=r) for r in (3.0, 1.01, 1.02, 1.01)])
    said = find_collapse(history)
    assert said is not None and "one direction" in said


def test_too_few_clips_are_not_called_alike() -> None:
    # Two clips lie on one line, and one is like itself, however good the features are.
    for few in (1, 2):
        history = series([feature_health(noise(few, 6, 8, seed=seed)) for seed in range(4)])
        assert find_collapse(history) is None


def test_features_that_are_not_finite_are_named_at_once() -> None:
    history = [*with_std(0.13), (50, replace(HEALTHY, feature_std=math.nan))]
    said = find_collapse(history)
    assert said is not None and "step 50" in said and "finite" in said


def test_history_is_read_back_from_the_entries_of_a_journal() -> None:
    entries = [
        {"step": 0, "health": HEALTHY.as_dict()},
        {"step": 10, "loss": 1.0},
        {"step": 20, "health": {**HEALTHY.as_dict(), "feature_std": None}},
    ]
    (first_step, first), (last_step, last) = health_history(entries)
    assert (first_step, first, last_step) == (0, HEALTHY, 20)
    assert math.isnan(last.feature_std)


class MeanOfContext(nn.Module):
    """No predictor: every hidden token is predicted as the mean of the context."""

    def forward(self, tokens: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return tokens.mean(dim=1, keepdim=True).expand(-1, target.shape[1], -1)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On a busy machine the threads of so small a network wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_provoked_collapse_is_named_in_a_real_training(one_thread: None) -> None:
    """No moving average and no predictor: the encoder learns to say the same of every clip."""
    architecture = VitArchitecture(
        width=24, depth=2, num_heads=2, patch_size=8, num_frames=4, image_size=32
    )
    encoder, no_predictor = fresh_vit(architecture, seed=0), MeanOfContext()
    masks = (MultiBlock(num_blocks=2, spatial_scale=(0.3, 0.3)),)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    fixed = blobs(48, generator)
    history = []
    for step in range(121):
        if step % 20 == 0:
            with torch.no_grad():
                history.append((step, feature_health(encoder(fixed).last)))
        clips = blobs(12, generator)
        [mask] = draw_masks(masks, architecture.grid, 12, batch=step, generator=generator)
        hidden = gather_tokens(target_features(encoder, clips), mask.target)
        seen = encoder(clips, keep=mask.context).last
        loss = (no_predictor(seen, mask.target) - hidden).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert find_collapse(history[:2]) is None
    assert find_collapse(history) is not None, history


def blobs(num_clips: int, generator: torch.Generator) -> torch.Tensor:
    """Every patch of its own brightness, so that no patch tells another: `[B, 3, 4, 32, 32]`."""
    levels = torch.randn(num_clips, 3, 4, 4, 4, generator=generator)
    return levels.repeat_interleave(8, dim=3).repeat_interleave(8, dim=4)
