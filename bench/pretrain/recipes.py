"""Built-in recipes: the released V-JEPA ones and one for the built-in moving digits.

V-JEPA, arXiv 2404.08471, with the numbers of its released configurations. Lists of videos are
given on the command line; the released runs use Kinetics-710, Something-Something v2 and HowTo100M
(VideoMix2M).
"""

from __future__ import annotations

from dataclasses import replace

from bench.encoders.networks.sizes import VIT_SIZES
from bench.encoders.networks.video_vit import VitArchitecture
from bench.pretrain.masks import MultiBlock
from bench.pretrain.predictor import PredictorArchitecture
from bench.pretrain.recipe import PretrainRecipe
from bench.registry import recipe
from bench.types import ClipPlan

SHORT_RANGE = MultiBlock(num_blocks=8, spatial_scale=(0.15, 0.15))
LONG_RANGE = MultiBlock(num_blocks=2, spatial_scale=(0.7, 0.7))
STEPS_PER_EPOCH = 300  # of the released runs, whatever the size of the data


@recipe
def vjepa_vitl16() -> PretrainRecipe:
    """V-JEPA ViT-L/16, 16 frames of 224 pixels, as released: 90,000 steps of 3,072 clips."""
    return _released("vjepa_vitl16", VIT_SIZES["vit_large"])


@recipe
def vjepa_vith16() -> PretrainRecipe:
    """V-JEPA ViT-H/16, 16 frames of 224 pixels, as released: 90,000 steps of 3,072 clips."""
    return _released("vjepa_vith16", VIT_SIZES["vit_huge"])


@recipe
def vjepa_vith16_384() -> PretrainRecipe:
    """V-JEPA ViT-H/16, 16 frames of 384 pixels, as released: 90,000 steps of 2,400 clips."""
    large = replace(VIT_SIZES["vit_huge"], image_size=384)
    return replace(_released("vjepa_vith16_384", large), batch_size=2400, mask_batch=10)


@recipe
def vjepa_vitb16_k400() -> PretrainRecipe:
    """For ablations on Kinetics-400: the released ViT-L recipe with a ViT-B/16; not published."""
    return _released("vjepa_vitb16_k400", VIT_SIZES["vit_base"])


@recipe
def digits_tiny() -> PretrainRecipe:
    """For the embedded videos of moving digits: 0.45 million parameters, hours on a CPU core."""
    encoder = VIT_SIZES["vit_digits"]
    return PretrainRecipe(
        name="digits_tiny",
        encoder=encoder,
        predictor=PredictorArchitecture(width=48, depth=3, num_mask_tokens=1),
        # A grid of 4 x 6 x 6 tokens is too small for the released pair of masks.
        masks=(MultiBlock(num_blocks=4, spatial_scale=(0.15, 0.25)),),
        plan=ClipPlan(num_frames=encoder.num_frames, num_clips=1, num_views=1, stride=3),
        num_steps=10_000,
        batch_size=32,
        mask_batch=32,
        warmup_steps=500,
        start_lr=2e-4,
        lr=1e-3,
        ema=(0.99, 1.0),
        crop_scale=(0.6, 1.0),
    )


def _released(name: str, encoder: VitArchitecture) -> PretrainRecipe:
    return PretrainRecipe(
        name=name,
        encoder=encoder,
        predictor=PredictorArchitecture(),
        masks=(SHORT_RANGE, LONG_RANGE),
        plan=ClipPlan(
            num_frames=encoder.num_frames,
            num_clips=1,
            num_views=1,
            stride=4,
            sampler="vjepa_pretrain",
        ),
        num_steps=300 * STEPS_PER_EPOCH,
        batch_size=3072,
        mask_batch=24,
        warmup_steps=40 * STEPS_PER_EPOCH,
        start_lr=2e-4,
        lr=6.25e-4,
        # The released code clips in epochs after number 40, counted from 0.
        clip_after=41 * STEPS_PER_EPOCH,
    )
