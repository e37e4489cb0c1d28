"""The objective of V-JEPA: predict masked tokens in the feature space of an EMA encoder.

arXiv 2404.08471, section 3.1 (features, L1) and table 1 (pixels, mean squared error). Operations
are in the order of the released code; parity is tested against its runs.

Shape letters: B clips, N tokens per clip, K context tokens, P predicted tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from bench.encoders.networks.video_vit import VideoViT, fresh_vit, gather_tokens, tubelets
from bench.pretrain.masks import Mask
from bench.pretrain.predictor import Predictor, fresh_predictor
from bench.pretrain.recipe import PretrainRecipe

TARGET_NORM_EPS = 1e-5
PIXEL_NORM_EPS = 1e-6
STD_EPS = 1e-4


class JointEmbedding(nn.Module):
    """The two trained networks: context encoder and predictor."""

    def __init__(self, encoder: VideoViT, predictor: Predictor) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor

    def forward(self, clips: torch.Tensor, masks: Sequence[Mask]) -> list[torch.Tensor]:
        """Return predictions `[B, P, D]` per mask for clips `[B, 3, T, H, W]`."""
        return [
            self.predictor(
                self.encoder(clips, keep=mask.context).last, mask.context, mask.target, number
            )
            for number, mask in enumerate(masks)
        ]


@dataclass(frozen=True, kw_only=True)
class Losses:
    """`total` is minimised: `prediction` plus the weighted `std` regulariser."""

    total: torch.Tensor
    prediction: torch.Tensor
    std: torch.Tensor


def fresh_networks(recipe: PretrainRecipe, *, seed: int) -> tuple[JointEmbedding, VideoViT]:
    """Return new networks and the target encoder, a copy of the encoder."""
    std = recipe.initial_std
    encoder = fresh_vit(recipe.encoder, seed=seed, std=std)
    width = None
    if recipe.target == "pixels":
        a = recipe.encoder
        width = 3 * a.tubelet_size * a.patch_size**2
    # With the same seed, both networks would draw the same numbers.
    predictor = fresh_predictor(
        recipe.predictor, recipe.encoder, seed=seed + 1, out_width=width, std=std
    )
    target = fresh_vit(recipe.encoder, seed=seed, std=std).requires_grad_(False)
    return JointEmbedding(encoder, predictor), target


def target_features(target: nn.Module, clips: torch.Tensor) -> torch.Tensor:
    """Return the target encoder's layer-normed features of unmasked clips, float32 `[B, N, D]`."""
    with torch.no_grad():
        features = target(clips).last.float()
        return functional.layer_norm(features, features.shape[-1:], eps=TARGET_NORM_EPS)


def target_pixels(clips: torch.Tensor, kernel: tuple[int, int, int]) -> torch.Tensor:
    """Return pixels per tubelet, normalised by its mean and deviation, `[B, N, pixels]`."""
    pixels = tubelets(clips.float(), kernel)
    centred = pixels - pixels.mean(dim=-1, keepdim=True)
    return centred / (pixels.var(dim=-1, keepdim=True) + PIXEL_NORM_EPS).sqrt()


def losses(
    recipe: PretrainRecipe,
    predictions: Sequence[torch.Tensor],
    targets: torch.Tensor,
    masks: Sequence[Mask],
) -> Losses:
    """Compare predictions `[B, P, D]` per mask with `targets` `[B, N, D]` at the mask's targets.

    Averaged over all elements of a mask, then over masks. `std` falls as predictions vary more over
    a clip's tokens.
    """
    power = 2.0 if recipe.target == "pixels" else recipe.loss_exponent
    divisor = 1.0 if recipe.target == "pixels" else recipe.loss_exponent
    distances, spreads = [], []
    for prediction, mask in zip(predictions, masks, strict=True):
        difference = (prediction.float() - gather_tokens(targets, mask.target)).abs()
        distances.append((difference if power == 1 else difference**power).mean() / divisor)
        spreads.append((prediction.float().var(dim=1) + STD_EPS).sqrt())
    prediction = torch.stack(distances).mean()
    std = functional.relu(1 - torch.stack(spreads).mean(dim=0)).mean()
    total = prediction + recipe.std_weight * std if recipe.std_weight else prediction
    return Losses(total=total, prediction=prediction, std=std.detach())
