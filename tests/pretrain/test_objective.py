from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.encoders.networks.video_vit import VitArchitecture, tubelets
from bench.pretrain.masks import Mask, MultiBlock
from bench.pretrain.objective import (
    JointEmbedding,
    fresh_networks,
    losses,
    target_features,
    target_pixels,
)
from bench.pretrain.predictor import PredictorArchitecture
from bench.pretrain.recipe import PretrainRecipe
from bench.types import ClipPlan, Tokens
from tests.encoders.files import reference

BLOCK = MultiBlock(num_blocks=1, spatial_scale=(0.5, 0.5))
RECIPE = PretrainRecipe(
    name="tiny",
    encoder=VitArchitecture(
        width=24, depth=2, num_heads=4, patch_size=8, num_frames=4, image_size=16
    ),
    predictor=PredictorArchitecture(width=12, depth=1),
    masks=(BLOCK, BLOCK),
    plan=ClipPlan(num_frames=4, num_clips=1, num_views=1, stride=2),
    num_steps=10,
    batch_size=2,
    mask_batch=2,
    warmup_steps=2,
    lr=1e-3,
    start_lr=1e-4,
    precision="fp32",
)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def two_masks() -> list[Mask]:
    targets = [torch.tensor([[0, 2, 5], [1, 2, 3]]), torch.tensor([[7, 4], [0, 6]])]
    return [Mask(context=torch.tensor([[1, 6], [5, 7]]), target=target) for target in targets]


@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_feature_loss_is_the_mean_over_masks_of_the_mean_over_elements(exponent: float) -> None:
    hidden, masks = drawn(2, 8, 3), two_masks()
    predictions = [drawn(*mask.target.shape, 3, seed=i + 1) for i, mask in enumerate(masks)]
    per_mask = []
    for prediction, mask in zip(predictions, masks, strict=True):
        terms = [
            abs(float(prediction[b, p, d]) - float(hidden[b, place, d])) ** exponent / exponent
            for b, places in enumerate(mask.target.tolist())
            for p, place in enumerate(places)
            for d in range(3)
        ]
        per_mask.append(sum(terms) / len(terms))
    found = losses(replace(RECIPE, loss_exponent=exponent), predictions, hidden, masks)
    assert float(found.prediction) == pytest.approx(sum(per_mask) / 2, abs=1e-6)
    assert torch.equal(found.total, found.prediction)


def test_pixel_loss_is_the_mean_squared_error() -> None:
    recipe = replace(RECIPE, target="pixels")
    mask = Mask(context=torch.tensor([[0]]), target=torch.tensor([[1, 2]]))
    hidden = torch.tensor([[[9.0, 9.0], [1.0, 2.0], [0.0, 0.0]]])
    found = losses(recipe, [torch.tensor([[[4.0, 1.0], [1.0, 1.0]]])], hidden, [mask])
    # (3^2 + 1^2 + 1^2 + 1^2) / 4
    assert float(found.total) == 3.0


def test_regulariser_is_one_minus_the_spread_over_tokens() -> None:
    # Predictions of one clip: column 0 is 0 and 1 (unbiased variance 1/2), column 1 is constant,
    # column 2 is 0 and 4 (variance 8, beyond 1).
    prediction = torch.tensor([[[0.0, 3.0, 0.0], [1.0, 3.0, 4.0]]])
    mask = Mask(context=torch.tensor([[2]]), target=torch.tensor([[0, 1]]))
    found = losses(replace(RECIPE, std_weight=0.1), [prediction], torch.zeros(1, 3, 3), [mask])
    spread = (1 - (0.5 + 1e-4) ** 0.5) + (1 - 1e-4**0.5)
    assert float(found.std) == pytest.approx(spread / 3, abs=1e-6)
    assert float(found.total) == pytest.approx(float(found.prediction) + 0.1 * spread / 3)


def test_hidden_features_are_the_layer_normed_tokens_of_the_released_targets() -> None:
    io = reference()

    class Given(nn.Module):
        def forward(self, clips: torch.Tensor) -> Tokens:
            return Tokens(layers=(io["tokens_target"],), grid=(4, 4, 4))

    features = target_features(Given(), io["clip"])
    for number in (0, 1):
        places = io[f"mask_pred_{number}"]
        rows = torch.stack([features[b, places[b]] for b in range(2)])
        torch.testing.assert_close(rows, io[f"targets_{number}"], rtol=0, atol=5e-5)


def test_hidden_features_carry_no_gradient() -> None:
    _, target = fresh_networks(RECIPE, seed=0)
    assert not any(p.requires_grad for p in target.parameters())
    assert not target_features(target.requires_grad_(True), drawn(1, 3, 4, 16, 16)).requires_grad


def test_tubelets_are_in_the_order_of_a_convolution() -> None:
    kernel = (2, 4, 2)
    pixels = drawn(2, 3, 4, 8, 6)
    convolution = nn.Conv3d(3, 5, kernel_size=kernel, stride=kernel)
    wanted = convolution(pixels).flatten(2).transpose(1, 2)
    cut = tubelets(pixels, kernel)
    assert cut.shape == (2, 2 * 2 * 3, 3 * 2 * 4 * 2)
    ours = nn.functional.linear(cut, convolution.weight.flatten(1), convolution.bias)
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-5)


def test_hidden_pixels_are_normalised_by_their_own_tubelet() -> None:
    # One frame of 1 x 2 pixels a tubelet; channels of tubelet 0 are (1, 3), (1, 3), (1, 3): mean 2,
    # unbiased variance 6/5. Tubelet 1 is constant: zeros.
    clips = torch.tensor([1.0, 3.0, 7.0, 7.0]).expand(1, 3, 1, 1, 4)
    hidden = target_pixels(clips, (1, 1, 2))
    one = 1 / (1.2 + 1e-6) ** 0.5
    wanted = torch.tensor([[[-one, one] * 3, [0.0] * 6]])
    torch.testing.assert_close(hidden, wanted)


def test_pixel_recipe_predicts_every_value_of_a_tubelet() -> None:
    networks, _ = fresh_networks(replace(RECIPE, target="pixels"), seed=0)
    clips, masks = drawn(2, 3, 4, 16, 16), two_masks()
    hidden = target_pixels(clips, networks.encoder.patch_embed.kernel)
    assert hidden.shape == (2, 8, 3 * 2 * 8 * 8)
    predictions = networks(clips, masks)
    assert [p.shape for p in predictions] == [(2, 3, 384), (2, 2, 384)]


def test_context_alone_decides_the_predictions() -> None:
    networks, _ = fresh_networks(RECIPE, seed=0)
    masks = [Mask(context=torch.tensor([[0, 3]]), target=torch.tensor([[1, 7]]))] * 2
    clips = drawn(1, 3, 4, 16, 16)
    changed = clips.clone()
    changed[:, :, 2:] += 1  # tokens 4 to 7: none of them is shown
    for before, after in zip(networks(clips, masks), networks(changed, masks), strict=True):
        assert torch.equal(before, after)
    changed[:, :, :2, :8, :8] += 1  # token 0 is
    assert not torch.equal(networks(clips, masks)[0], networks(changed, masks)[0])


def test_fresh_target_is_a_copy_of_the_encoder_and_the_predictor_is_not_alike() -> None:
    networks, target = fresh_networks(RECIPE, seed=5)
    assert isinstance(networks, JointEmbedding)
    for name, tensor in networks.encoder.state_dict().items():
        assert torch.equal(tensor, target.state_dict()[name])
    again, _ = fresh_networks(RECIPE, seed=5)
    for name, tensor in networks.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    drawn_first = networks.encoder.patch_embed.proj.weight.flatten()[:100]
    assert not torch.equal(networks.predictor.predictor_embed.weight.flatten()[:100], drawn_first)
