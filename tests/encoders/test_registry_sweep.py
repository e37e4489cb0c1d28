"""Every family, built small: shapes, grid, frozen weights, masks, stills, other sizes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import registry
from bench.data.views.transforms import normalise
from bench.encoders.encoder import Encoder, num_trainable, open_encoder, weight_digest
from bench.encoders.functional_check import formula_clip, functional_check
from bench.errors import CheckpointError, UsageError
from bench.features.key import encoder_facts
from bench.types import EncoderSpec
from tests.encoders.families import FAMILIES, NAMED, Family


@pytest.fixture(scope="module", params=FAMILIES)
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Family, Encoder]:
    family = FAMILIES[request.param]
    return family, family.open(tmp_path_factory.mktemp("family"))


def pixels(
    spec: EncoderSpec,
    *,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
) -> torch.Tensor:
    """Two clips that differ, normalised as the encoder wants them."""
    size = spec.image_size
    frames, height, width = frames or spec.num_frames, height or size, width or size
    clip = formula_clip(frames, max(height, width))[:, :height, :width]
    return normalise(torch.stack([clip, 255 - clip]), spec.mean, spec.std)


def test_every_registered_encoder_is_swept() -> None:
    reached = {family.spec.split(":")[0].split("/")[0] for family in FAMILIES.values()}
    assert set(registry.names("encoders")) == reached | NAMED.keys()
    assert not reached & NAMED.keys()


def test_tokens_have_the_shape_of_the_grid_and_spec(opened: tuple[Family, Encoder]) -> None:
    _, encoder = opened
    spec = encoder.spec
    tokens = encoder(pixels(spec))
    t, h, w = tokens.grid
    assert t == spec.num_frames // spec.tubelet_size
    assert h == w == spec.image_size // spec.patch_size
    assert tokens.last.shape == (2, t * h * w, spec.width) and tokens.last.dtype == torch.float32
    assert torch.isfinite(tokens.last).all()
    assert not torch.allclose(tokens.last[0], tokens.last[1])
    assert len(tokens.prefix) == (1 if spec.num_prefix else 0)
    for prefix in tokens.prefix:
        frames = spec.num_frames if spec.takes == "image" else 1
        assert prefix.shape == (2, frames * spec.num_prefix, spec.width)


def test_layers_are_tapped_in_order_and_the_last_is_the_default(
    opened: tuple[Family, Encoder],
) -> None:
    family, encoder = opened
    clips = pixels(encoder.spec)
    whole, tapped = encoder(clips), encoder(clips, layers=family.layers)
    assert max(family.layers) == encoder.spec.depth - 1
    assert len(tapped.layers) == len(family.layers)
    assert {layer.shape for layer in tapped.layers} == {whole.last.shape}
    torch.testing.assert_close(tapped.last, whole.last)
    assert len(tapped.prefix) == (len(family.layers) if encoder.spec.num_prefix else 0)
    if len(family.layers) > 1:
        assert not torch.allclose(tapped.layers[0], tapped.last)
    with pytest.raises(UsageError):
        encoder(clips, layers=(encoder.spec.depth,))


def test_weights_are_frozen_and_encoding_never_changes_them(opened: tuple[Family, Encoder]) -> None:
    family, encoder = opened
    before = weight_digest(encoder)
    clips = pixels(encoder.spec)
    first = encoder(clips).last
    encoder(clips, layers=family.layers)
    assert weight_digest(encoder) == before
    assert torch.equal(encoder(clips).last, first)
    assert not encoder.training and not any(m.training for m in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters()) and not first.requires_grad
    assert encoder.spec.num_parameters == num_trainable(encoder)


def test_a_clip_is_encoded_the_same_beside_any_other(opened: tuple[Family, Encoder]) -> None:
    _, encoder = opened
    clips = pixels(encoder.spec)
    alone = encoder(clips[:1]).last
    torch.testing.assert_close(encoder(clips).last[:1], alone, rtol=1e-4, atol=1e-4)


def test_masks_keep_the_tokens_named_or_are_refused(opened: tuple[Family, Encoder]) -> None:
    family, encoder = opened
    spec, clips = encoder.spec, pixels(encoder.spec)
    whole = encoder(clips).last
    tokens = torch.arange(whole.shape[1]).expand(2, -1)
    if not family.takes_masks:
        with pytest.raises(UsageError, match="mask"):
            encoder(clips, keep=tokens)
        return
    torch.testing.assert_close(encoder(clips, keep=tokens).last, whole, rtol=1e-4, atol=1e-5)
    kept = tokens[:, ::2]  # of every frame as many
    half = encoder(clips, keep=kept).last
    assert half.shape == (2, kept.shape[1], spec.width)
    hidden = without(clips, set(range(whole.shape[1])) - set(kept[0].tolist()), encoder(clips).grid)
    assert not torch.allclose(encoder(hidden).last, whole)
    torch.testing.assert_close(encoder(hidden, keep=kept).last, half)


def without(clips: torch.Tensor, tokens: set[int], grid: tuple[int, int, int]) -> torch.Tensor:
    """Clips whose pixels under some tokens are replaced."""
    clips = clips.clone()
    size = [n // cells for n, cells in zip(clips.shape[2:], grid, strict=True)]
    for token in tokens:
        cell = torch.unravel_index(torch.tensor(token), grid)
        region = [slice(int(c) * n, (int(c) + 1) * n) for c, n in zip(cell, size, strict=True)]
        clips[(slice(None), slice(None), *region)] += 3
    return clips


def test_the_final_norm_can_be_left_out_of_earlier_taps_or_is_not_there(
    opened: tuple[Family, Encoder],
) -> None:
    family, encoder = opened
    clips = pixels(encoder.spec)
    try:
        bare = encoder(clips, layers=family.layers, norm=False)
    except UsageError as refused:
        assert not family.has_norm and "norm" in str(refused)
        return
    normed = encoder(clips, layers=family.layers)
    torch.testing.assert_close(bare.last, normed.last)
    if len(family.layers) > 1:
        assert torch.allclose(bare.layers[0], normed.layers[0]) is not family.has_norm


def test_another_size_and_other_frames_are_encoded_or_refused(
    opened: tuple[Family, Encoder],
) -> None:
    family, encoder = opened
    spec = encoder.spec
    frames, wide = spec.num_frames + 2 * spec.tubelet_size, spec.image_size + spec.patch_size
    clips = pixels(spec, frames=frames, height=spec.image_size, width=wide)
    if not family.takes_other_sizes:
        with pytest.raises(UsageError):
            encoder(clips)
        return
    tokens = encoder(clips)
    t, h, w = tokens.grid
    assert tokens.last.shape == (2, t * h * w, spec.width)
    if family.spec != "pixel_mean":  # which pools every clip to one grid
        assert (h, w) == (spec.image_size // spec.patch_size, wide // spec.patch_size)
    assert t == frames // spec.tubelet_size


def test_a_clip_that_tubelets_or_channels_do_not_fit_is_refused(
    opened: tuple[Family, Encoder],
) -> None:
    _, encoder = opened
    clips = pixels(encoder.spec)
    with pytest.raises(UsageError):
        encoder(clips[:, :2])
    with pytest.raises(UsageError):
        encoder(clips[:, :, 0])
    if encoder.spec.tubelet_size > 1:
        with pytest.raises(UsageError):
            encoder(clips[:, :, :-1])


def test_a_still_is_a_clip_of_equal_frames(opened: tuple[Family, Encoder]) -> None:
    _, encoder = opened
    spec = encoder.spec
    frames = spec.still_frames or (1 if spec.takes == "image" else spec.num_frames)
    still = pixels(spec, frames=1).expand(-1, -1, frames, -1, -1)
    tokens = encoder(still)
    assert tokens.grid[0] == frames // spec.tubelet_size
    assert torch.isfinite(tokens.last).all()
    if spec.takes == "image":
        twice = encoder(still.expand(-1, -1, 2, -1, -1)).last
        torch.testing.assert_close(twice, torch.cat([tokens.last] * 2, 1), rtol=1e-4, atol=1e-5)


def test_the_functional_check_finds_nothing_but_random_weights(
    opened: tuple[Family, Encoder],
) -> None:
    family, encoder = opened
    found = functional_check(encoder)
    assert not found.is_blind and found.clip.endswith(
        f"{encoder.spec.num_frames}x{encoder.spec.image_size}"
    )
    assert bool(found.warnings) == (family.spec == "random:vit_digits"), found.warnings


def test_what_identifies_the_features_is_json_and_follows_the_weights(
    opened: tuple[Family, Encoder],
) -> None:
    _, encoder = opened
    facts = encoder_facts(encoder)
    assert json.loads(json.dumps(facts)) == facts and len(facts["weights"]) == 64
    assert encoder.spec.source and encoder.spec.name
    assert replace(encoder.spec) == encoder.spec


@pytest.mark.parametrize("name", [n for n in NAMED if "_" in n])
def test_a_released_name_refuses_a_file_of_another_size(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name.split("_")[0]]
    path = family.save(tmp_path).partition(":")[2]
    with pytest.raises(CheckpointError, match=r"weights\.pt"):
        open_encoder(f"{name}:{path}", {})


def test_a_family_without_a_published_layout_refuses_every_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="videomae:FILE"):
        open_encoder("vidrop:x.pt", {})


def test_code_of_others_is_refused_unless_it_is_trusted() -> None:
    with pytest.raises(UsageError, match="--trust-remote-code"):
        open_encoder("torchhub:somebody/models:main:net", {})
