import pytest
import torch

from bench.encoders.encoder import open_encoder, weight_digest
from bench.errors import CheckpointError, UsageError
from tests.encoders.files import CHECKPOINT, HEADS


def test_pixel_mean_equals_a_loop_over_cells() -> None:
    clip = torch.randn(2, 3, 4, 12, 12, generator=torch.Generator().manual_seed(0))
    tokens = open_encoder("pixel_mean", {"grid": 3, "image_size": 12})(clip)
    assert tokens.grid == (2, 1, 1)
    assert tokens.last.shape == (2, 2, 27)
    for b in range(2):
        for t in range(2):
            cells = [
                clip[b, c, 2 * t : 2 * t + 2, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean()
                for c in range(3)
                for y in range(3)
                for x in range(3)
            ]
            torch.testing.assert_close(tokens.last[b, t], torch.stack(cells), rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames", [2, 8, 16])
def test_pixel_mean_takes_any_even_number_of_frames(frames: int) -> None:
    encoder = open_encoder("pixel_mean", {})
    assert encoder.spec.is_floor
    assert encoder.spec.num_heads == encoder.spec.depth == 1
    clip = torch.zeros(1, 3, frames, 48, 48)
    assert encoder(clip).last.shape == (1, frames // 2, encoder.spec.width)
    kept = encoder(clip, keep=torch.tensor([[frames // 2 - 1]]), layers=(0,))
    assert kept.last.shape == (1, 1, 192)


def test_pixel_mean_refuses_odd_frames_and_other_layers() -> None:
    encoder = open_encoder("pixel_mean", {})
    with pytest.raises(UsageError, match="even number of frames"):
        encoder(torch.zeros(1, 3, 7, 48, 48))
    with pytest.raises(UsageError, match="blocks from 0 to 0"):
        encoder(torch.zeros(1, 3, 8, 48, 48), layers=(1,))
    with pytest.raises(UsageError, match="num_frames 7"):
        open_encoder("pixel_mean", {"num_frames": 7})


def test_pixel_means_of_two_grids_have_two_digests() -> None:
    digests = {weight_digest(open_encoder("pixel_mean", {"grid": g})) for g in (4, 8)}
    assert len(digests) == 2


def test_random_encoder_is_a_floor_with_the_named_size() -> None:
    spec = open_encoder("random:vit_digits", {}).spec
    assert spec.is_floor
    assert (spec.name, spec.source) == ("random:vit_digits", "random seed 0")
    assert (spec.width, spec.depth, spec.num_heads, spec.patch_size) == (96, 4, 3, 8)
    assert (spec.num_frames, spec.image_size) == (8, 48)
    # embedding 96*(3*2*8*8)+96, per block 12*96^2+13*96, final norm 2*96
    assert spec.num_parameters == 36960 + 4 * 111840 + 192


def test_random_encoder_of_a_file_has_its_shape_and_none_of_its_weights() -> None:
    like = open_encoder(f"random:{CHECKPOINT}", {**HEADS, "image_size": 48})
    given = open_encoder(f"vjepa:{CHECKPOINT}", {**HEADS, "image_size": 48})
    assert like.spec.name == "random:v1_encoder"
    assert like.network.architecture == given.network.architecture
    for name, tensor in like.network.named_parameters():
        other = given.network.get_parameter(name)
        assert tensor.shape == other.shape
        assert not torch.equal(tensor, other)


def test_random_seeds_give_different_digests_and_one_seed_the_same() -> None:
    digests = [
        weight_digest(open_encoder("random:vit_digits", {"seed": seed})) for seed in (0, 1, 0)
    ]
    assert digests[0] == digests[2] != digests[1]


def test_random_options_change_the_named_size() -> None:
    network = open_encoder("random:vit_digits", {"num_frames": 4, "num_heads": 6}).network
    assert network.architecture.num_heads == 6
    assert network.pos_embed.shape == (1, 2 * 36, 96)


def test_unknown_random_size_is_refused_with_the_closest_name() -> None:
    with pytest.raises(UsageError, match="Did you mean 'vit_digits'"):
        open_encoder("random:vit_digit", {})
    with pytest.raises(CheckpointError, match="does not exist"):
        open_encoder("random:./nothing.pt", {})
    with pytest.raises(UsageError, match="num_heads 0"):
        open_encoder("random:vit_digits", {"num_heads": 0})
