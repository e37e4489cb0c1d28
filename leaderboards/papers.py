"""The publications whose tables are compared with measured numbers.

Numbers are percentages, and spreads too, as printed.
"""

from __future__ import annotations

from bench.publish.leaderboard import Paper
from bench.registry import register
from leaderboards.published import numbers_of


@register("papers", "vjepa-2024")
def vjepa() -> Paper:
    """V-JEPA (Bardes et al., arXiv:2404.08471): tables 1 to 7 and 12 to 15, section 5.2.

    For DINOv2 on SSv2 it prints 50.6 in table 6 and 50.0 in table 13; both are kept.
    """
    return Paper(
        name="vjepa-2024",
        title="Revisiting Feature Prediction for Learning Visual Representations from Video",
        url="https://arxiv.org/abs/2404.08471",
        numbers=numbers_of("vjepa-2024"),
    )


@register("papers", "vidrop-2024")
def vidrop() -> Paper:
    """ViDROP (an anonymous submission): tables 6 and 7."""
    return Paper(
        name="vidrop-2024",
        title="ViDROP (an anonymous submission)",
        url="",
        numbers=numbers_of("vidrop-2024"),
    )


@register("papers", "vicmae-poster")
def vicmae() -> Paper:
    """ViC-MAE (poster, ECCV 2024): end-to-end fine-tuning and transfer to images.

    The row of ViT-B on K710+MiT+IN1K is illegible in the scan and left out; that of ViT-L was read
    with the help of the abstract.
    """
    return Paper(
        name="vicmae-poster",
        title="ViC-MAE (poster, ECCV 2024)",
        url="",
        numbers=numbers_of("vicmae-poster"),
    )


@register("papers", "denoising-talk-2024")
def denoising() -> Paper:
    """A talk on denoising models, 2024: tables of the I-JEPA paper on CLEVR and 1 % of ImageNet."""
    return Paper(
        name="denoising-talk-2024",
        title="A talk on denoising models (2024), tables of the I-JEPA paper",
        url="",
        numbers=numbers_of("denoising-talk-2024"),
    )
