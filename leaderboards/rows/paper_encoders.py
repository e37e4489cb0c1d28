"""The mapping from our encoders to published rows.

It lists only weights that the authors released for exactly that model, not networks of the same
shape trained differently. The resolution has to match too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.publish.leaderboard import PublishedNumber
from bench.records.record import Record


@dataclass(frozen=True, kw_only=True)
class PublishedEncoder:
    """How papers name an encoder: `methods` are its names in several tables, `data` the printed
    pretraining data (if any).
    """

    methods: tuple[str, ...]
    arch: str
    data: str


# Table 1 names the released ViT-L by its target; the numbers are those of tables 2 and 3.
_VJEPA = ("V-JEPA", "V-JEPA (features target)")
ENCODERS: Mapping[str, PublishedEncoder] = {
    "vjepa_vitl16": PublishedEncoder(methods=_VJEPA, arch="ViT-L/16", data="VideoMix2M"),
    "vjepa_vith16": PublishedEncoder(methods=_VJEPA[:1], arch="ViT-H/16", data="VideoMix2M"),
    "vjepa_vith16_384": PublishedEncoder(methods=_VJEPA[:1], arch="ViT-H/16", data="VideoMix2M"),
    "timm/vit_giant_patch14_dinov2.lvd142m": PublishedEncoder(
        methods=("DINOv2",), arch="ViT-g/14", data="LVD-142M"
    ),
}


def is_of(record: Record, number: PublishedNumber) -> bool:
    """Whether a record has the encoder of a published number."""
    encoder = ENCODERS.get(record.encoder.name.partition("@")[0])
    return (
        encoder is not None
        and number.method in encoder.methods
        and number.arch == encoder.arch
        and number.pretrain_data in ("", encoder.data)
        and number.resolution == record.encoder.image_size
    )
