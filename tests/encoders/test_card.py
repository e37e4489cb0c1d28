"""The functional check: a clip of integers, a digest worked out again, weights that look odd."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bench.encoders.encoder import Encoder, open_encoder
from bench.encoders.functional_check import formula_clip, fresh_norms, functional_check
from bench.encoders.networks.video_vit import VideoViT
from bench.errors import CheckpointError
from bench.types import Tokens
from tests.encoders.files import CHECKPOINT, HEADS


def trained() -> Encoder:
    return open_encoder("digits_tiny", {})


def edited(change: Callable[..., None]) -> Encoder:
    """A fresh copy of the shipped encoder with some of its weights changed."""
    encoder = trained()
    with torch.no_grad():
        change(encoder.network)
    return encoder


@pytest.mark.parametrize("name", ["random:vit_digits", "random:vit_tiny"])
def test_the_computation_of_a_vit_is_that_of_its_formula(name: str) -> None:
    encoder = open_encoder(name, {"num_frames": 4, "image_size": 64})
    spec = encoder.spec
    D = spec.width
    N = (spec.num_frames // spec.tubelet_size) * (spec.image_size // spec.patch_size) ** 2
    patches = N * D * 3 * spec.tubelet_size * spec.patch_size**2
    blocks = spec.depth * (12 * N * D**2 + 2 * N**2 * D)  # qkv, projection, MLP of 4 D; attention
    # The check encodes two clips; torch counts products, not norms, softmax and biases.
    assert functional_check(encoder).gflops == pytest.approx(2 * (patches + blocks) / 1e9, abs=1e-4)


def test_raw_pixels_compute_nothing() -> None:
    assert functional_check(open_encoder("pixel_mean", {})).gflops is None


def test_the_clip_has_the_pixels_of_its_formula_at_every_size() -> None:
    clip = formula_clip(8, 256)
    assert clip.shape == (8, 256, 256, 3) and clip.dtype == torch.uint8
    # Left upper corner, t = 0: waves of 0, 128 and 0; 256 is cut to 255.
    assert clip[0, 0, 0].tolist() == [255, 128, 255]
    # Middle of the disc (x 64, y 128), t = 0: waves of 128, 384 and 192, then the opposite.
    assert clip[0, 128, 64].tolist() == [255 - 128, 255 - 128, 255 - 64]
    # The last of eight frames has t = 224: 200 + 224, 80 - 224 + 128 (496 below), 140 + 448.
    assert clip[7, 40, 100].tolist() == [168, 240, 180]
    assert torch.equal(formula_clip(8, 128), clip[:, ::2, ::2])
    assert torch.equal(formula_clip(4, 256), clip[::2])


def test_the_digest_is_that_of_the_rounded_mean_token() -> None:
    encoder = open_encoder(f"vjepa:{CHECKPOINT}", HEADS)
    found = functional_check(encoder)
    grey = formula_clip(8, 32).numpy().astype(np.float64).transpose(3, 0, 1, 2) / 255
    mean, std = (np.array(v).reshape(3, 1, 1, 1) for v in (encoder.spec.mean, encoder.spec.std))
    pixels = torch.tensor((grey - mean) / std, dtype=torch.float32)
    with torch.no_grad():
        tokens = encoder.network(pixels[None]).last[0].double().numpy()
    features = tokens.mean(0)
    np.testing.assert_allclose(
        found.blocks, [part.mean() for part in np.array_split(features, 8)], atol=1e-4
    )
    assert found.spread == pytest.approx(tokens.std(0).mean(), abs=1e-4)
    whole = b"".join(
        int(np.rint(value * 10_000)).to_bytes(8, "little", signed=True) for value in features
    )
    assert found.sha256 == hashlib.sha256(whole).hexdigest()
    assert (found.clip, found.num_tensors, found.num_norms) == ("formula-1 8x32", 41, 7)
    assert found.warnings == ()


def test_equal_weights_give_equal_checks_and_others_do_not() -> None:
    def scaled(network: VideoViT) -> None:
        network.blocks[2].mlp.fc1.weight.mul_(1.05)

    digests = [functional_check(e).sha256 for e in (trained(), trained(), edited(scaled))]
    assert digests[0] == digests[1] != digests[2]


def test_weights_from_which_training_starts_are_named() -> None:
    all_fresh = functional_check(open_encoder("random:vit_digits", {}))
    assert len(all_fresh.fresh_norms) == all_fresh.num_norms == 9
    assert "look random: all 9 normalisation layers" in all_fresh.warnings[0]

    def one_fresh(network: VideoViT) -> None:
        network.blocks[1].norm2.weight.fill_(1.0)
        network.blocks[1].norm2.bias.zero_()

    [warning] = functional_check(edited(one_fresh)).warnings
    assert warning.startswith("1 of 9 normalisation layers") and "blocks.1.norm2" in warning


def test_only_layers_with_weights_count_and_a_trained_bias_or_mean_is_enough() -> None:
    layers = nn.Sequential(
        nn.LayerNorm(4),
        nn.LayerNorm(4, elementwise_affine=False),
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3),
        nn.GroupNorm(2, 4),
        nn.RMSNorm(4),
        nn.Linear(4, 4),
    )
    layers[3].running_mean[1] = 0.25
    with torch.no_grad():
        layers[4].bias[0] = -1.0
    names, fresh = fresh_norms(layers)
    assert names == ["0", "2", "3", "4", "5"] and fresh == ["0", "2", "5"]


def test_features_that_are_not_finite_are_refused_with_the_encoder_named() -> None:
    def broken(network: VideoViT) -> None:
        network.norm.bias[3] = float("inf")

    with pytest.raises(CheckpointError, match="encoder digits_tiny gives features that are not"):
        functional_check(edited(broken))


def test_an_encoder_that_does_not_look_is_named() -> None:
    def blind(network: VideoViT) -> None:
        network.patch_embed.proj.weight.zero_()

    assert any("two different pictures" in w for w in functional_check(edited(blind)).warnings)


def test_the_check_of_an_open_encoder_is_made_once() -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(
            self,
            pixels: torch.Tensor,
            *,
            keep: torch.Tensor | None = None,
            layers: Sequence[int] | None = None,
        ) -> Tokens:
            Counting.calls += 1
            return Tokens(layers=(pixels.mean((3, 4)).transpose(1, 2),), grid=(8, 1, 1))

    encoder = Encoder(Counting(), replace(trained().spec, name="counting", width=3))
    first, again = functional_check(encoder), functional_check(encoder)
    assert first is again and Counting.calls == 1
    assert first.num_norms == 0 and first.warnings == ("the features of two different pictures are"
                                                       " the same",)  # fmt: skip
