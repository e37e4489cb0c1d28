"""ViDROP (Video Dense Representation thrOugh spatio-temporal sParsity): registered but refused.

Its paper continues pretraining from VideoMAE and V-JEPA, but no released file or code documents the
names of its tensors, and a guess could load them wrongly.
"""

from __future__ import annotations

from bench import registry
from bench.encoders.encoder import Encoder
from bench.errors import CheckpointError


@registry.encoder
def vidrop(*, weights: str) -> Encoder:
    """Refused: the layout of ViDROP's files is not published.

    Raises:
        CheckpointError: always.
    """
    raise CheckpointError(
        f"encoder 'vidrop:{weights}': the layout of ViDROP's weights is not published, so they"
        " cannot be read safely; if the file names its tensors as VideoMAE or V-JEPA do, open it as"
        " videomae:FILE or vjepa:FILE, which load every tensor or refuse."
    )
