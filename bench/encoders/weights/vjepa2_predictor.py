"""The predictor of V-JEPA 2, read from its files: features of places that no token was seen at.

arXiv 2506.09985, section 2: a narrow transformer over the projected context tokens and one mask
token per hidden place; places turn queries and keys. State-dict names are the released ones.

Shape letters: B clips, K context tokens, P predicted tokens, D width of the encoder, d its own.
"""

from __future__ import annotations

import torch
from torch import nn

from bench.encoders.networks.rope import RotaryBlock, axis_width, turns_at
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
    """Context tokens `[B, K, D]` to predictions `[B, P, D]` of the tokens at given places.

    `rows_columns` is the token grid (h, w) whose numbers are places; unlike the encoder, the
    predictor cannot see it from its input. `notes` are sentences about the load.

    Raises:
        UsageError: a width that its heads do not divide, or heads too narrow for three axes.
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
                f"a predictor of width {width} cannot be split over {num_heads} heads; give"
                " num_heads that divide it."
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

        `tokens` `[B, K, D]` are the encoder's, at the places `context` int64 `[B, K]`; `target`
        int64 `[B, P]` are the places to predict, `number` picks the mask token: pretraining with
        one number of frames trains 0 alone, for all masks, and anticipation takes 1.
        """
        x = self.predictor_embed(tokens)
        hidden = self.mask_tokens[number].to(x.dtype).expand(*target.shape, -1)
        x = torch.cat([x, hidden], dim=1)
        places = torch.cat([context, target], dim=1)
        cos, sin = turns_at(places, self.rows_columns, self.head_dim)
        turns = cos.unsqueeze(1), sin.unsqueeze(1)
        for block in self.predictor_blocks:
            x = block(x, turns)
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
    """Return the predictor in a V-JEPA 2 checkpoint or transformers' file, every tensor loaded.

    It is frozen. `image_size` and `patch_size` (pixels) give its token grid; the patch size is read
    off the encoder beside it. Heads are 12 where the width is the released 384.

    Raises:
        CheckpointError: no complete predictor of V-JEPA 2, or one whose heads nobody says.
        UsageError: a grid that cannot be, or heads that do not fit.
    """
    held, patch_held = read_rotary_predictor(fetch(weights))
    patch = patch_held if patch_size is None else patch_size
    if patch is None or patch < 1 or image_size < 1 or image_size % patch:
        raise UsageError(
            f"{held.where}: image_size {image_size} and patch_size {patch} make no token grid; give"
            " the two that its encoder was trained with."
        )
    if patch_held not in (None, patch):
        raise CheckpointError(
            f"{held.where}: its encoder has patch_size {patch_held}, but {patch} was asked; leave"
            " the option out."
        )
    tensors, where = held.tensors, held.where
    faults = [name for name in NEEDED if name not in tensors or tensors[name].ndim != 2]
    if faults:
        raise CheckpointError(
            f"{where} does not hold {', '.join(faults)}, so it is no complete predictor; give a"
            " V-JEPA 2 checkpoint with all its tensors."
        )
    embed, proj, fc1 = (tensors[name] for name in NEEDED)
    width, encoder_width = embed.shape
    heads = RELEASED_HEADS if num_heads is None and width == RELEASED_WIDTH else num_heads
    if heads is None:
        raise CheckpointError(
            f"{where}: the number of heads cannot be read off the tensors (width {width} is not"
            f" the released {RELEASED_WIDTH}); give num_heads."
        )
    with torch.device("meta"):  # built as the shapes say; loading finds whether all is there
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
    predictor.notes = held.notes
    load_all(predictor, tensors, where)
    return predictor.eval().requires_grad_(False)
