from dataclasses import replace

import pytest
import torch

from bench.encoders.networks.video_vit import VideoViT, VitArchitecture
from bench.encoders.weights.checkpoints import load_all
from bench.errors import UsageError
from bench.pretrain.predictor import Predictor, PredictorArchitecture, fresh_predictor
from tests.encoders.files import bare, content, reference

ENCODER = VitArchitecture(
    width=28, depth=3, num_heads=4, patch_size=8, tubelet_size=2, num_frames=8, image_size=32
)
PREDICTOR = PredictorArchitecture(width=24, depth=2)
FORWARD = 5e-5


def released() -> Predictor:
    predictor = Predictor(PREDICTOR, ENCODER)
    load_all(predictor, bare("predictor"), "v1_encoder.pt")
    return predictor.eval()


@pytest.mark.parametrize("number", [0, 1])
@torch.no_grad()
def test_predictions_are_those_of_the_released_code(number: int) -> None:
    io = reference()
    predicted = released()(
        io[f"ctx_tokens_{number}"], io[f"mask_enc_{number}"], io[f"mask_pred_{number}"], number
    )
    torch.testing.assert_close(predicted, io[f"pred_{number}"], rtol=0, atol=FORWARD)


@pytest.mark.parametrize("number", [0, 1])
@torch.no_grad()
def test_context_tokens_of_the_encoder_are_those_that_the_released_predictor_read(
    number: int,
) -> None:
    io = reference()
    encoder = VideoViT(ENCODER)
    load_all(encoder, bare("encoder"), "v1_encoder.pt")
    tokens = encoder(io["clip"], keep=io[f"mask_enc_{number}"]).last
    torch.testing.assert_close(tokens, io[f"ctx_tokens_{number}"], rtol=0, atol=FORWARD)


def test_names_and_shapes_are_the_released_ones() -> None:
    held = content()["predictor"]
    wanted = {name.removeprefix("module.backbone."): t.shape for name, t in held.items()}
    ours = {name: t.shape for name, t in Predictor(PREDICTOR, ENCODER).state_dict().items()}
    assert ours == wanted


def test_position_table_is_the_released_one_and_is_not_trained() -> None:
    predictor = Predictor(PREDICTOR, ENCODER)
    table = bare("predictor")["predictor_pos_embed"]
    torch.testing.assert_close(predictor.predictor_pos_embed, table, rtol=0, atol=1e-6)
    assert "predictor_pos_embed" not in dict(predictor.named_parameters())


@torch.no_grad()
def test_order_of_targets_and_of_context_does_not_matter() -> None:
    io, predictor = reference(), released()
    tokens, context, target = io["ctx_tokens_0"], io["mask_enc_0"], io["mask_pred_0"]
    straight = predictor(tokens, context, target, 0)
    draws = torch.Generator().manual_seed(0)
    shown = torch.randperm(context.shape[1], generator=draws)
    hidden = torch.randperm(target.shape[1], generator=draws)
    mixed = predictor(tokens[:, shown], context[:, shown], target[:, hidden], 0)
    torch.testing.assert_close(mixed, straight[:, hidden], rtol=0, atol=FORWARD)


@torch.no_grad()
def test_every_mask_has_its_own_mask_token() -> None:
    io, predictor = reference(), released()
    given = (io["ctx_tokens_0"], io["mask_enc_0"], io["mask_pred_0"])
    assert (predictor(*given, 0) - predictor(*given, 1)).abs().max() > 0.01


@torch.no_grad()
def test_fresh_weights_are_a_function_of_the_seed_and_mask_tokens_are_zero() -> None:
    first, again, other = (fresh_predictor(PREDICTOR, ENCODER, seed=s) for s in (3, 3, 4))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(first.predictor_proj.weight, other.predictor_proj.weight)
    assert all(token.abs().max() == 0 for token in first.mask_tokens)
    assert first.predictor_embed.bias.abs().max() == 0
    large = fresh_predictor(replace(PREDICTOR, width=120), ENCODER, seed=0)
    # 120 * 480 normal numbers: their deviation is within 1 % of 0.02 with near certainty.
    assert large.predictor_blocks[1].mlp.fc2.weight.std() == pytest.approx(0.02, rel=0.015)


def test_predictions_may_have_another_width_than_the_encoder() -> None:
    predictor = fresh_predictor(PREDICTOR, ENCODER, seed=0, out_width=5)
    places = torch.arange(6).view(2, 3)
    assert predictor(torch.zeros(2, 3, 28), places, places + 6, 0).shape == (2, 3, 5)


def test_heads_are_those_of_the_encoder_unless_given() -> None:
    assert Predictor(PREDICTOR, ENCODER).predictor_blocks[0].attn.num_heads == 4
    other = Predictor(replace(PREDICTOR, num_heads=3), ENCODER)
    assert other.predictor_blocks[0].attn.num_heads == 3
    with pytest.raises(UsageError, match="width 24 is not divisible by 5 heads"):
        Predictor(replace(PREDICTOR, num_heads=5), ENCODER)
