"""AutoAugment's ImageNet policy for stills (arXiv 1805.09501, appendix, table 9).

Magnitudes have the meaning of timm's `original` policy, which the released V-JEPA image evaluation
uses: unlike RandAugment's "increasing" form, a larger magnitude keeps more bits (Posterize) and
inverts fewer levels (Solarize), and colour factors run from 0.1 to 1.9.
"""

from __future__ import annotations

import numpy as np

from bench.data.views.randaugment import Step, geometric_argument

# Pairs of (operation, probability, magnitude from 0 to 10); pairs that occur twice in the published
# table are drawn twice as often.
POLICY = (
    (("Posterize", 0.4, 8), ("Rotate", 0.6, 9)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
    (("Posterize", 0.6, 7), ("Posterize", 0.6, 6)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Equalize", 0.4, 4), ("Rotate", 0.8, 8)),
    (("Solarize", 0.6, 3), ("Equalize", 0.6, 7)),
    (("Posterize", 0.8, 5), ("Equalize", 1.0, 2)),
    (("Rotate", 0.2, 3), ("Solarize", 0.6, 8)),
    (("Equalize", 0.6, 8), ("Posterize", 0.4, 6)),
    (("Rotate", 0.8, 8), ("Color", 0.4, 0)),
    (("Rotate", 0.4, 9), ("Equalize", 0.6, 2)),
    (("Equalize", 0.0, 7), ("Equalize", 0.8, 8)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Rotate", 0.8, 8), ("Color", 1.0, 2)),
    (("Color", 0.8, 8), ("Solarize", 0.8, 7)),
    (("Sharpness", 0.4, 7), ("Invert", 0.6, 8)),
    (("ShearX", 0.6, 5), ("Equalize", 1.0, 9)),
    (("Color", 0.4, 0), ("Equalize", 0.6, 3)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
)


def draw_steps(rng: np.random.Generator) -> tuple[Step, ...]:
    """Draw one pair of the policy; each operation is applied with its probability."""
    steps = []
    for name, probability, magnitude in POLICY[rng.integers(len(POLICY))]:
        apply, sign = rng.random() < probability, 1 if rng.random() < 0.5 else -1
        if apply:
            steps.append(Step(operation=name, argument=argument(name, magnitude, sign)))
    return tuple(steps)


def argument(operation: str, magnitude: float, sign: int) -> float:
    """Translate a magnitude of the published table (0 to 10) into the operation's argument."""
    fraction = magnitude / 10
    match operation:
        case "Posterize":
            return 4 + int(4 * fraction)
        case "Solarize":
            return int(256 * fraction)
        case "Color" | "Contrast" | "Sharpness":
            return 0.1 + 1.8 * fraction
    return geometric_argument(operation, magnitude, sign)
