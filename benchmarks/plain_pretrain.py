"""A pretraining step of V-JEPA written plainly: what the step of `bench.pretrain` is held against.

Written from the description of the method (arXiv 2404.08471). Every mask has its own pass, which
embeds the whole clip and then picks its tokens; attention is torch's own; AdamW and the moving
average go through the tensors one by one; nothing is compiled. Parameters carry the released names.

Shape letters: B clips, N tokens of a clip, K context tokens, P predicted tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional

from bench.encoders.networks.video_vit import VideoViT, VitArchitecture
from bench.pretrain.masks import Mask
from bench.pretrain.objective import JointEmbedding
from bench.pretrain.recipe import PretrainRecipe
from bench.pretrain.schedule import StepValues


class PlainPretraining:
    """Encoder, predictor, target encoder and optimizer that start with copies of given weights.

    For recipes that predict features, without the regulariser.
    """

    def __init__(
        self,
        recipe: PretrainRecipe,
        networks: JointEmbedding,
        target: VideoViT,
        device: torch.device,
    ) -> None:
        assert recipe.target == "features" and not recipe.std_weight, recipe
        self.recipe = recipe
        self.encoder = PlainEncoder(recipe.encoder)
        self.target_encoder = PlainEncoder(recipe.encoder).requires_grad_(False)
        self.predictor = PlainPredictor(recipe)
        for own, given in (
            (self.encoder, networks.encoder),
            (self.predictor, networks.predictor),
            (self.target_encoder, target),
        ):
            own.load_state_dict(given.state_dict())
            own.to(device)
        pair = (self.encoder, self.predictor)
        groups = [{"params": list(_matrices(network))} for network in pair]
        groups += [{"params": list(_vectors(network))} for network in pair]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, foreach=False)

    def step(
        self, clips: torch.Tensor, masks: Sequence[Mask], values: StepValues
    ) -> tuple[float, list[float]]:
        """Train on clips `[B, 3, T, H, W]`; return the loss and the norms of both gradients."""
        for number, group in enumerate(self.optimizer.param_groups):
            group["lr"] = values.lr
            group["weight_decay"] = values.weight_decay if number < 2 else 0.0
        self.optimizer.zero_grad()
        bf16 = self.recipe.precision == "bf16"
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=bf16):
            loss = self._loss(clips, masks)
        loss.backward()  # type: ignore[no-untyped-call]
        norms = [
            nn.utils.clip_grad_norm_(
                network.parameters(),
                (self.recipe.clip_norm if values.clips else None) or float("inf"),
                foreach=False,
            )
            for network in (self.encoder, self.predictor)
        ]
        assert torch.isfinite(loss)
        self.optimizer.step()
        with torch.no_grad():
            pairs = zip(self.target_encoder.parameters(), self.encoder.parameters(), strict=True)
            for slow, fast in pairs:
                slow.mul_(values.momentum).add_(fast, alpha=1 - values.momentum)
        return float(loss.detach()), [float(norm) for norm in norms]

    def _loss(self, clips: torch.Tensor, masks: Sequence[Mask]) -> torch.Tensor:
        with torch.no_grad():
            hidden = self.target_encoder(clips)
            hidden = functional.layer_norm(hidden.float(), hidden.shape[-1:])
        loss = torch.zeros((), device=clips.device)
        for number, mask in enumerate(masks):
            context = self.encoder(clips, mask.context)
            predicted = self.predictor(context, mask.context, mask.target, number)
            apart = (predicted - _picked(hidden, mask.target)).abs()
            power = self.recipe.loss_exponent
            loss = loss + (apart**power).mean() / power
        return loss / len(masks)


class PlainEncoder(nn.Module):
    """Clips `[B, 3, T, H, W]` to tokens `[B, N, D]`, or to those at `keep` `[B, K]`."""

    pos_embed: torch.Tensor

    def __init__(self, architecture: VitArchitecture) -> None:
        super().__init__()
        a = architecture
        t, h, w = a.grid
        kernel = (a.tubelet_size, a.patch_size, a.patch_size)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, a.width, kernel, stride=kernel)})
        self.register_buffer("pos_embed", torch.zeros(1, t * h * w, a.width))
        self.blocks = nn.ModuleList(
            _Block(a.width, a.num_heads, a.mlp_hidden) for _ in range(a.depth)
        )
        self.norm = nn.LayerNorm(a.width, eps=1e-6)

    def forward(self, clips: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Return final-normed tokens."""
        x: torch.Tensor = self.patch_embed["proj"](clips).flatten(2).transpose(1, 2)
        x = x + self.pos_embed
        if keep is not None:
            x = _picked(x, keep)
        for block in self.blocks:
            x = block(x)
        normed: torch.Tensor = self.norm(x)
        return normed


class PlainPredictor(nn.Module):
    """Context tokens `[B, K, D]` to predictions `[B, P, D]`."""

    predictor_pos_embed: torch.Tensor

    def __init__(self, recipe: PretrainRecipe) -> None:
        super().__init__()
        a, encoder = recipe.predictor, recipe.encoder
        t, h, w = encoder.grid
        self.predictor_embed = nn.Linear(encoder.width, a.width)
        self.mask_tokens = nn.ParameterList(torch.zeros(1, 1, a.width) for _ in recipe.masks)
        self.register_buffer("predictor_pos_embed", torch.zeros(1, t * h * w, a.width))
        self.predictor_blocks = nn.ModuleList(
            _Block(a.width, a.num_heads or encoder.num_heads, 4 * a.width) for _ in range(a.depth)
        )
        self.predictor_norm = nn.LayerNorm(a.width, eps=1e-6)
        self.predictor_proj = nn.Linear(a.width, encoder.width)

    def forward(
        self, tokens: torch.Tensor, context: torch.Tensor, target: torch.Tensor, number: int
    ) -> torch.Tensor:
        """Predict the places `target` `[B, P]` from tokens at `context` `[B, K]`."""
        table = self.predictor_pos_embed.expand(len(tokens), -1, -1)
        x = self.predictor_embed(tokens) + _picked(table, context)
        hidden = self.mask_tokens[number] + _picked(table, target)
        x = torch.cat([x, hidden], dim=1)
        for block in self.predictor_blocks:
            x = block(x)
        predicted: torch.Tensor = self.predictor_proj(self.predictor_norm(x[:, -target.shape[1] :]))
        return predicted


class _Block(nn.Module):
    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict(
            {"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)}
        )
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, width = x.shape
        parts = self.attn["qkv"](self.norm1(x)).view(rows, length, 3, self.num_heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.attn["proj"](mixed.transpose(1, 2).reshape(rows, length, width))
        changed: torch.Tensor = self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(x))))
        return x + changed


def _picked(tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return `tokens` `[B, N, D]` at `places` `[B, K]`."""
    return torch.gather(tokens, 1, places[:, :, None].expand(-1, -1, tokens.shape[2]))


def _matrices(network: nn.Module) -> Iterator[nn.Parameter]:
    return (p for n, p in network.named_parameters() if p.ndim > 1 and "bias" not in n)


def _vectors(network: nn.Module) -> Iterator[nn.Parameter]:
    return (p for n, p in network.named_parameters() if p.ndim == 1 or "bias" in n)
