"""A few steps of pretraining on however many processes run this: a tiny recipe, made-up clips.

    python -m torch.distributed.run --standalone --nproc-per-node 2 \
        -m tests.pretrain.two_processes OUT VARIANT...

A variant is ENGINE, ENGINE:CLIPS (clips at a time) or ENGINE:CLIPS:recompute.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.encoders.networks.video_vit import VitArchitecture
from bench.launch.distributed import World, gather_objects, join, mean_over_ranks
from bench.pretrain.chunks import chunk_masks, chunk_positions, plan_chunks
from bench.pretrain.engine import wrap
from bench.pretrain.masks import MultiBlock
from bench.pretrain.objective import fresh_networks
from bench.pretrain.predictor import PredictorArchitecture
from bench.pretrain.recipe import PretrainRecipe
from bench.pretrain.schedule import step_values
from bench.pretrain.step import make_optimizer, train_step
from bench.types import ClipPlan

SEED, STEPS = 5, 5
RECIPE = PretrainRecipe(
    name="tiny",
    encoder=VitArchitecture(
        width=24, depth=2, num_heads=2, patch_size=8, num_frames=8, image_size=32
    ),
    predictor=PredictorArchitecture(width=12, depth=1, num_mask_tokens=2),
    masks=(
        MultiBlock(num_blocks=4, spatial_scale=(0.15, 0.15)),
        MultiBlock(num_blocks=1, spatial_scale=(0.7, 0.7)),
    ),
    plan=ClipPlan.parse("8@1"),
    num_steps=20,
    batch_size=8,
    mask_batch=4,
    warmup_steps=2,
    lr=1e-3,
    start_lr=5e-4,
    ema=(0.9, 1.0),
    clip_norm=0.2,
    precision="fp32",
)


def clip(position: int) -> torch.Tensor:
    """The clip at a position of the order: noise drawn from the position alone."""
    a = RECIPE.encoder
    pixels = np.random.default_rng(position).standard_normal(
        (3, a.num_frames, a.image_size, a.image_size), dtype=np.float32
    )
    return torch.from_numpy(pixels)


def pretrain(
    world: World,
    kind: str,
    micro_batch: int | None = None,
    *,
    recompute: bool = False,
    recipe: PretrainRecipe = RECIPE,
    steps: int = STEPS,
) -> dict[str, Any]:
    """Losses and gradient norms per step, and all weights at the end, put together."""
    networks, target = fresh_networks(recipe, seed=SEED + world.rank)  # all get those of rank 0
    engine = wrap(networks, target, world, kind, checkpoint_activations=recompute)
    optimizer = make_optimizer(engine.networks, recipe)
    chunks = plan_chunks(recipe, world_size=world.size, rank=world.rank, micro_batch=micro_batch)
    positions = chunk_positions(recipe, chunks)
    report = {"loss": [], "encoder_norm": [], "predictor_norm": []}
    for step in range(1, steps + 1):
        batches = (
            (
                torch.stack([clip(p) for p in next(positions).tolist()]),
                chunk_masks(recipe, chunk, step=step, seed=SEED),
            )
            for chunk in chunks
        )
        made = train_step(
            recipe,
            networks,
            target,
            optimizer,
            batches,
            len(chunks),
            step_values(recipe, step),
            wrapped=engine.model,
        )
        report["loss"].append(mean_over_ranks(world, made.loss).item())
        report["encoder_norm"].append(made.encoder_norm.item())
        report["predictor_norm"].append(made.predictor_norm.item())
    named = {**dict(networks.named_parameters()), **prefixed("target.", target)}
    sharded = [name for name, value in named.items() if hasattr(value, "full_tensor")]
    weights = {
        name: (value.full_tensor() if name in sharded else value).detach().clone()
        for name, value in named.items()
    }
    return {
        "kind": engine.kind,
        "report": report,
        "weights": weights,
        "sharded": sharded,
        "chunks": len(chunks),
    }


def prefixed(prefix: str, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in module.named_parameters()}


def main(out: Path, *variants: str) -> None:
    torch.set_num_threads(1)
    with join("cpu") as world:
        for variant in variants:
            kind, micro_batch, recompute = (*variant.split(":"), "", "")[:3]
            made = pretrain(
                world, kind, int(micro_batch) if micro_batch else None, recompute=bool(recompute)
            )
            made["by_rank"] = gather_objects(world, made["weights"])
            if world.is_main:
                torch.save(made, Path(out) / f"{variant.replace(':', '_')}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
