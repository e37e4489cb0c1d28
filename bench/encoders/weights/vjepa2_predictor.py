"""The predictor of V-JEPA 2, which predicts the features of masked tokens, from its files.

arXiv 2506.09985, section 2: a narrow transformer with rotary positions over the projected context
tokens and one mask token per masked position. State-dict names are the released ones.

Shape letters: B clips, K context tokens, P predicted tokens, D width of the encoder.
"""

from __future__ import annotations

import torch
from torch import nn

from bench.encoders.networks.rope import RotaryBlock, axis_width, cos_sin_at
from bench.encoders.networks.video_vit import LAYER_NORM_EPS
from bench.encoders.weights.checkpoints import fetch, load_all
from bench.encoders.weights.state_dicts import num_numbered
from bench.encoders.weights.vjepa2_layouts import read_rotary_predictor
from bench.errors import CheckpointError, UsageError

RELEASED_WIDTH, RELEASED_HEADS = 384, 12
NEEDED = (
    "predictor_embed.weight",
    "predictor_proj.weight",
    "predictor_blocks.0.mlp.fc1.weight",
)


class RotaryPredictor(nn.Module):
    """Context tokens `[B, K, D]` to predictions `[B, P, D]` of the tokens at given positions.

    `rows_columns` is the token grid (h, w) that positions index; unlike for the encoder, the input
    does not show it. `notes` are sentences about how the weights were loaded.

    Raises:
        UsageError: a width not divisible by its heads, or heads too narrow for three axes.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        num_heads: int,
        num_mask_tokens: int,
        encoder_width: int,
        mlp_hidden: int,
        out_width: int,
        rows_columns: tuple[int, int],
    ) -> None:
        super().__init__()
        if num_heads < 1 or width % num_heads:
            raise UsageError(
                f"width {width} cannot be split over num_heads {num_heads}; give a divisor of it."
            )
        self.head_dim = width // num_heads
        axis_width(self.head_dim)
        self.rows_columns = rows_columns
        self.notes: tuple[str, ...] = ()
        self.predictor_embed = nn.Linear(encoder_width, width)
        self.mask_tokens = nn.ParameterList(
            nn.Parameter(torch.zeros(1, 1, width)) for _ in range(num_mask_tokens)
        )
        self.predictor_blocks = nn.ModuleList(
            RotaryBlock(width, num_heads, mlp_hidden, LAYER_NORM_EPS) for _ in range(depth)
        )
        self.predictor_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.predictor_proj = nn.Linear(width, out_width)

    def forward(
        self, tokens: torch.Tensor, context: torch.Tensor, target: torch.Tensor, number: int
    ) -> torch.Tensor:
        """Return predictions `[B, P, D]` in the order of `target`.

        `tokens` `[B, K, D]` are the encoder's at positions `context` int64 `[B, K]`; `target` int64
        `[B, P]` are the positions to predict. `number` selects the mask token: pretraining with a
        single number of frames trains only 0, for all masks; anticipation uses 1.
        """
        x = self.predictor_embed(tokens)
        hidden = self.mask_tokens[number].to(x.dtype).expand(*target.shape, -1)
        x = torch.cat([x, hidden], dim=1)
        positions = torch.cat([context, target], dim=1)
        cos, sin = cos_sin_at(positions, self.rows_columns, self.head_dim)
        cos_sin = cos.unsqueeze(1), sin.unsqueeze(1)
        for block in self.predictor_blocks:
            x = block(x, cos_sin)
        x = x[:, context.shape[1] :]
        predicted: torch.Tensor = self.predictor_proj(self.predictor_norm(x))
        return predicted


def read_predictor(
    weights: str,
    *,
    num_heads: int | None = None,
    image_size: int = 256,
    patch_size: int | None = None,
) -> RotaryPredictor:
    """Return the frozen predictor of a V-JEPA 2 checkpoint or transformers file, fully loaded.

    `image_size` and `patch_size` (pixels) give its token grid; the patch size is read from the
    encoder in the same file. The released width 384 has 12 heads.

    Raises:
        CheckpointError: not a complete V-JEPA 2 predictor, or an unknown number of heads.
        UsageError: an impossible grid, or heads that do not fit.
    """
    file, stored_patch = read_rotary_predictor(fetch(weights))
    patch = stored_patch if patch_size is None else patch_size
    if patch is None or patch < 1 or image_size < 1 or image_size % patch:
        raise UsageError(
            f"{file.where}: image_size {image_size} and patch_size {patch} do not form a grid; give"
            " those that its encoder was trained with."
        )
    if stored_patch not in (None, patch):
        raise CheckpointError(
            f"{file.where}: its encoder has patch_size {stored_patch}, not {patch}; leave it out."
        )
    tensors, where = file.tensors, file.where
    faults = [name for name in NEEDED if name not in tensors or tensors[name].ndim != 2]
    if faults:
        raise CheckpointError(
            f"{where} is not a complete predictor: it has no {', '.join(faults)}; give a V-JEPA 2"
            " checkpoint with all its tensors."
        )
    embed, proj, fc1 = (tensors[name] for name in NEEDED)
    width, encoder_width = embed.shape
    heads = RELEASED_HEADS if num_heads is None and width == RELEASED_WIDTH else num_heads
    if heads is None:
        raise CheckpointError(
            f"{where}: the tensors do not show the number of heads (width {width} is not the"
            f" released {RELEASED_WIDTH}); give num_heads."
        )
    with torch.device("meta"):  # built from shapes; loading checks completeness
        predictor = RotaryPredictor(
            width=width,
            depth=num_numbered(tensors, r"predictor_blocks\.(\d+)\."),
            num_heads=heads,
            num_mask_tokens=num_numbered(tensors, r"mask_tokens\.(\d+)$"),
            encoder_width=encoder_width,
            mlp_hidden=fc1.shape[0],
            out_width=proj.shape[0],
            rows_columns=(image_size // patch,) * 2,
        )
    predictor.notes = file.notes
    load_all(predictor, tensors, where)
    return predictor.eval().requires_grad_(False)
