"""The online probe: which rows it uses, what it finds in made features, what it leaves alone."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bench.encoders.networks.video_vit import VitArchitecture, fresh_vit
from bench.errors import UsageError
from bench.pretrain.health import feature_health
from bench.pretrain.online import OnlineProbe
from bench.types import Tokens

ARCHITECTURE = VitArchitecture(
    width=12, depth=1, num_heads=2, patch_size=8, num_frames=4, image_size=16
)
CPU = torch.device("cpu")
CLASSES = 3


class Pixels(nn.Module):
    """The pixels of a clip's first frame as tokens: features that anyone can work out."""

    def forward(self, clips: torch.Tensor) -> Tokens:
        return Tokens(layers=(clips[:, :, 0].flatten(2).transpose(1, 2),), grid=(1, 16, 16))


class Constant(nn.Module):
    """The same tokens for every clip."""

    def forward(self, clips: torch.Tensor) -> Tokens:
        return Tokens(layers=(torch.ones(len(clips), 4, 8),), grid=(1, 2, 2))


class Diverged(nn.Module):
    """Tokens that are not finite."""

    def forward(self, clips: torch.Tensor) -> Tokens:
        return Tokens(layers=(torch.full((len(clips), 4, 8), torch.nan),), grid=(1, 2, 2))


class OwnFeatures(nn.Module):
    """Features of their own for every picture: they tell the picture and nothing of its class."""

    def forward(self, clips: torch.Tensor) -> Tokens:
        seeds = clips[:, 0, 0].flatten(1).double().abs().sum(1).mul(1e6).long().tolist()
        draws = [torch.randn(1, 64, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return Tokens(layers=(torch.stack(draws),), grid=(1, 1, 1))


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose class is their colour, with noise; the score split cannot even be decoded."""
    root = tmp_path_factory.mktemp("coloured")
    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        folder = root / "train" / str(label)
        folder.mkdir(parents=True)
        for number in range(14):
            pixels = rng.integers(0, 60, (20, 20, 3), dtype=np.uint8)
            pixels[..., label] += 150
            Image.fromarray(pixels).save(folder / f"{number:02d}.png")
        (root / "val" / str(label)).mkdir(parents=True)
        (root / "val" / str(label) / "0.png").write_bytes(b"never read")
    return root


@pytest.fixture(scope="module")
def probe(coloured: Path) -> OnlineProbe:
    return OnlineProbe("folder", architecture=ARCHITECTURE, data=coloured)


def test_features_that_tell_the_class_score_all_held_out_rows(probe: OnlineProbe) -> None:
    scores = probe.measure(Pixels(), CPU)
    assert probe.num_rows == (21, 21)
    assert scores.as_dict() == {"knn": 1.0, "linear": 1.0}
    assert scores.health.is_finite and scores.health.relative_std > 0.1


def test_held_out_rows_are_not_among_the_fitted_ones(probe: OnlineProbe) -> None:
    # A row that was fitted on would be its own nearest neighbour, and every score 1.
    assert probe.measure(OwnFeatures(), CPU).knn < 0.8


def test_constant_features_score_no_more_than_one_class(probe: OnlineProbe) -> None:
    scores = probe.measure(Constant(), CPU)
    assert scores.knn == scores.linear == pytest.approx(1 / CLASSES)
    assert scores.health.relative_std == scores.health.effective_rank == 0.0


def test_features_that_are_not_finite_have_no_accuracy(probe: OnlineProbe) -> None:
    scores = probe.measure(Diverged(), CPU)
    assert math.isnan(scores.knn) and math.isnan(scores.linear) and not scores.health.is_finite


def test_measuring_leaves_random_state_and_training_flags_untouched(probe: OnlineProbe) -> None:
    class Drawing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = fresh_vit(ARCHITECTURE, seed=0)
            self.frozen = nn.Dropout().eval()

        def forward(self, clips: torch.Tensor) -> Tokens:
            assert not self.training and not torch.is_grad_enabled()
            torch.rand(3)
            return self.inner(clips)

    network = Drawing().train()
    network.frozen.eval()
    flags = [module.training for module in network.modules()]
    state = torch.get_rng_state()
    probe.measure(network, CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in network.modules()] == flags
    assert not flags[-1] and flags[0]
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_two_probes_and_two_moments_give_the_same_numbers(
    probe: OnlineProbe, coloured: Path
) -> None:
    network = fresh_vit(ARCHITECTURE, seed=0)
    first = probe.measure(network, CPU)
    torch.manual_seed(99)
    again = OnlineProbe("folder", architecture=ARCHITECTURE, data=coloured)
    assert probe.measure(network, CPU) == first == again.measure(network, CPU)


def test_batch_size_changes_nothing_but_the_last_digits(probe: OnlineProbe) -> None:
    network = fresh_vit(ARCHITECTURE, seed=0)
    whole, parts = (probe.measure(network, CPU, batch_size=size) for size in (64, 5))
    assert whole.as_dict() == parts.as_dict()
    assert whole.health.as_dict() == pytest.approx(parts.health.as_dict(), rel=1e-3)


def test_bf16_gives_nearly_the_same_health(probe: OnlineProbe) -> None:
    network = fresh_vit(ARCHITECTURE, seed=0)
    full, half = (probe.measure(network, CPU, p).health for p in ("fp32", "bf16"))
    assert half != full and half.as_dict() == pytest.approx(full.as_dict(), rel=0.1)


def test_rows_are_cut_in_the_proportions_of_the_classes(coloured: Path) -> None:
    probe = OnlineProbe("folder", architecture=ARCHITECTURE, data=coloured, rows=12)
    assert probe.num_rows == (6, 6)
    assert probe.measure(Pixels(), CPU).knn == 1.0


def test_videos_are_read_as_an_evaluation_reads_them(video_set: Path) -> None:
    probe = OnlineProbe("folder", {"plan": "4x2x3@2"}, architecture=ARCHITECTURE, data=video_set)
    seen = []

    class Watching(nn.Module):
        def forward(self, clips: torch.Tensor) -> Tokens:
            seen.append(clips)
            return Pixels()(clips)

    scores = probe.measure(Watching(), CPU)
    clips = torch.cat(seen)
    assert probe.num_rows == (6, 6) and clips.shape == (12, 3, 4, 16, 16)
    assert not torch.equal(clips[:, :, 0], clips[:, :, 3])
    tokens = Pixels()(clips).last
    assert scores.health.as_dict() == pytest.approx(feature_health(tokens).as_dict(), rel=1e-4)


def test_still_is_repeated_over_the_frames(probe: OnlineProbe) -> None:
    class Checking(nn.Module):
        def forward(self, clips: torch.Tensor) -> Tokens:
            assert clips.shape[2] == 4 and torch.equal(clips[:, :, 0], clips[:, :, 3])
            return Pixels()(clips)

    probe.measure(Checking(), CPU)


def test_unreadable_rows_are_left_out_and_listed(
    coloured: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "set"
    shutil.copytree(coloured, root)
    (root / "train/1/03.png").write_bytes(b"no picture")
    probe = OnlineProbe("folder", architecture=ARCHITECTURE, data=root)
    assert list(probe.unreadable) == ["1/03.png"] and sum(probe.num_rows) == 41
    assert "1/03.png" in caplog.text


def test_set_that_leaves_nothing_to_score_on_is_refused(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "train" / label).mkdir(parents=True)
        (tmp_path / "val" / label).mkdir(parents=True)
        for split in ("train", "val"):
            Image.new("RGB", (20, 20)).save(tmp_path / split / label / "0.png")
    with pytest.raises(UsageError, match="too few"):
        OnlineProbe("folder", architecture=ARCHITECTURE, data=tmp_path)
    with pytest.raises(UsageError, match="rows = 1"):
        OnlineProbe("folder", architecture=ARCHITECTURE, data=tmp_path, rows=1)


def test_unknown_task_is_refused_with_the_closest_name() -> None:
    with pytest.raises(UsageError, match="moving_digits_how"):
        OnlineProbe("moving_digits_hwo", architecture=ARCHITECTURE)
