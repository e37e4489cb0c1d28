"""The small published-layout checkpoint and its reference outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

FIXTURES = Path(__file__).parent.parent / "fixtures"
CHECKPOINT = FIXTURES / "v1_encoder.pt"
HEADS = {"num_heads": 4}


def content() -> dict[str, Any]:
    return torch.load(CHECKPOINT, weights_only=True)


def bare(key: str = "target_encoder") -> dict[str, torch.Tensor]:
    return {n.removeprefix("module.backbone."): t for n, t in content()[key].items()}


def reference() -> dict[str, torch.Tensor]:
    arrays = np.load(FIXTURES / "v1_encoder_io.npz")
    return {name: torch.from_numpy(arrays[name]) for name in arrays}
