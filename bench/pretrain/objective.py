"""The objective of V-JEPA: predict what is hidden, in the space of a slowly moving encoder.

arXiv 2404.08471, section 3.1 (features, L1) and table 1 (pixels, mean squared error). The order of
the operations is that of the released code; parity is tested against its runs.

Shape letters: B clips, N tokens of a clip, K context tokens, P predicted tokens, D width.
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
    """The two networks that are trained: encoder of the context and predictor of the rest."""

    def __init__(self, encoder: VideoViT, predictor: Predictor) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor

    def forward(self, clips: torch.Tensor, masks: Sequence[Mask]) -> list[torch.Tensor]:
        """Return the predictions `[B, P, D]` of every mask for clips `[B, 3, T, H, W]`."""
        return [
            self.predictor(
                self.encoder(clips, keep=mask.context).last, mask.context, mask.target, number
            )
            for number, mask in enumerate(masks)
        ]


@dataclass(frozen=True, kw_only=True)
class Losses:
    """`total` is what is minimised: `prediction` plus the weighted `std` regulariser."""

    total: torch.Tensor
    prediction: torch.Tensor
    std: torch.Tensor


def fresh_networks(recipe: PretrainRecipe, *, seed: int) -> tuple[JointEmbedding, VideoViT]:
    """Return new networks and the target encoder, which starts as a copy of the encoder."""
    std = recipe.initial_std
    encoder = fresh_vit(recipe.encoder, seed=seed, std=std)
    width = None
    if recipe.target == "pixels":
        a = recipe.encoder
        width = 3 * a.tubelet_size * a.patch_size**2
    # Seeds of the two networks differ, or their first weights would be the same numbers.
    predictor = fresh_predictor(
        recipe.predictor, recipe.encoder, seed=seed + 1, out_width=width, std=std
    )
    target = fresh_vit(recipe.encoder, seed=seed, std=std).requires_grad_(False)
    return JointEmbedding(encoder, predictor), target


def hidden_features(target: nn.Module, clips: torch.Tensor) -> torch.Tensor:
    """Return the target encoder's features of whole clips, layer-normed, float32 `[B, N, D]`."""
    with torch.no_grad():
        features = target(clips).last.float()
        return functional.layer_norm(features, features.shape[-1:], eps=TARGET_NORM_EPS)


def hidden_pixels(clips: torch.Tensor, kernel: tuple[int, int, int]) -> torch.Tensor:
    """Return every tubelet's pixels, normalised by its own mean and deviation: `[B, N, pixels]`."""
    pixels = tubelets(clips.float(), kernel)
    centred = pixels - pixels.mean(dim=-1, keepdim=True)
    return centred / (pixels.var(dim=-1, keepdim=True) + PIXEL_NORM_EPS).sqrt()


def losses(
    recipe: PretrainRecipe,
    predictions: Sequence[torch.Tensor],
    hidden: torch.Tensor,
    masks: Sequence[Mask],
) -> Losses:
    """Compare predictions `[B, P, D]` of every mask with `hidden` `[B, N, D]` at its targets.

    The mean over all elements of a mask, then the mean over masks. `std` falls with the spread of
    the predictions over a clip's tokens.
    """
    power = 2.0 if recipe.target == "pixels" else recipe.loss_exponent
    divisor = 1.0 if recipe.target == "pixels" else recipe.loss_exponent
    distances, spreads = [], []
    for prediction, mask in zip(predictions, masks, strict=True):
        difference = (prediction.float() - gather_tokens(hidden, mask.target)).abs()
        distances.append((difference if power == 1 else difference**power).mean() / divisor)
        spreads.append((prediction.float().var(dim=1) + STD_EPS).sqrt())
    prediction = torch.stack(distances).mean()
    std = functional.relu(1 - torch.stack(spreads).mean(dim=0)).mean()
    total = prediction + recipe.std_weight * std if recipe.std_weight else prediction
    return Losses(total=total, prediction=prediction, std=std.detach())
