"""Time one pretraining step against a plain one, and both against the machine's matmul rate.

Run `python -m benchmarks.pretrain` (ViT-L/16 at 224 pixels, batch 24, bf16; `--model`, `--size`,
`--batch`, `--precision`, `--compile` for another case, `--threads 1` on a busy CPU). A step is
schedules, forward pass, loss, backward pass, clipping, AdamW and the moving average, on random
clips that are on the device already, under the masks of the recipe. `benchmarks.plain_pretrain`
says what the plain step is.

A turn is a square matmul, a plain step and our step, on the masks of one step. Ratios and shares
are taken within a turn and their medians printed: other work on the machine then slows both sides.
With one thread on a CPU, seconds are those of the process.

The arithmetic is counted, not measured, and is the same for both sides: what the method needs. A
block of width D and hidden width H on n tokens needs 2n(4D^2 + 2DH) + 4n^2 D operations, a linear
layer 2n times its weights. The target encoder's forward pass counts once; context encoder and
predictor three times (forward pass, and gradients of inputs and of weights), except that pixels
need no gradient.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch

from bench.encoders.networks.sizes import VIT_SIZES
from bench.launch.distributed import World, join
from bench.pretrain.chunks import chunk_masks
from bench.pretrain.engine import wrap
from bench.pretrain.masks import Mask
from bench.pretrain.objective import fresh_networks
from bench.pretrain.recipe import PretrainRecipe
from bench.pretrain.recipes import digits_tiny, vjepa_vitl16
from bench.pretrain.schedule import step_values
from bench.pretrain.step import make_optimizer, train_step
from benchmarks.plain_pretrain import PlainPretraining

WARM_STEPS = 2
MATMULS = 4
MATMUL_SIZE = {"cpu": 2048, "cuda": 8192}
GIB = 2**30
Step = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Seconds of a plain step and of our step, FLOP of either, and FLOP a second of the matmul."""

    plain: float
    ours: float
    flop: float
    peak: float


def main() -> None:
    """Parse the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=tuple(VIT_SIZES), default="vit_large")
    parser.add_argument("--size", type=int, help="pixels; that of the model where not given")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--compile", action="store_true", help="compile the blocks of our step")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = recipe_of(options.model, options.size, options.batch, options.precision)
    with join(options.device) as world:
        memory, turns = measure(recipe, world, options.steps, compile_blocks=options.compile)
        print(report(recipe, world.device, turns, memory, compiled=options.compile))


def recipe_of(model: str, size: int | None, batch: int, precision: str) -> PretrainRecipe:
    """Return the released recipe with another encoder, or that of the embedded digits."""
    base = digits_tiny() if model == "vit_digits" else vjepa_vitl16()
    encoder = VIT_SIZES[model]
    return replace(
        base,
        encoder=replace(encoder, image_size=size or encoder.image_size),
        batch_size=batch,
        # A smaller batch keeps the released sizes of masks.
        mask_batch=max(batch, base.mask_batch),
        precision="bf16" if precision == "bf16" else "fp32",
    )


def measure(
    recipe: PretrainRecipe, world: World, num_steps: int, *, compile_blocks: bool
) -> tuple[list[int], list[Turn]]:
    """Return peak bytes of GPU memory of the plain and of our step, and the turns."""
    makers = (plain_step, lambda r, w: our_step(r, w, compile_blocks=compile_blocks))
    (plain, plain_bytes), (ours, our_bytes) = (warmed(make, recipe, world) for make in makers)
    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    turns = []
    for number in range(WARM_STEPS, WARM_STEPS + num_steps):
        turns.append(
            Turn(
                peak=matmul_rate(world.device, dtype),
                plain=seconds(lambda n=number: plain(n), world.device),  # type: ignore[misc]
                ours=seconds(lambda n=number: ours(n), world.device),  # type: ignore[misc]
                flop=recipe.batch_size * flop_of_clip(recipe, masks_of(recipe, number)),
            )
        )
    return [plain_bytes, our_bytes], turns


def our_step(recipe: PretrainRecipe, world: World, *, compile_blocks: bool = False) -> Step:
    """Return the step that pretraining makes."""
    networks, target = fresh_networks(recipe, seed=0)
    engine = wrap(networks, target, world, "plain", compile_blocks=compile_blocks)
    optimizer = make_optimizer(networks, recipe)
    clips = clips_of(recipe, world.device)

    def step(number: int) -> None:
        chunk = (clips, [mask.to(world.device) for mask in masks_of(recipe, number)])
        values = step_values(recipe, recipe.clip_after + 1 + number)
        train_step(recipe, networks, target, optimizer, [chunk], 1, values, wrapped=engine.model)

    return step


def plain_step(recipe: PretrainRecipe, world: World) -> Step:
    """Return the plain step, from the same weights."""
    plain = PlainPretraining(recipe, *fresh_networks(recipe, seed=0), world.device)
    clips = clips_of(recipe, world.device)

    def step(number: int) -> None:
        masks = [mask.to(world.device) for mask in masks_of(recipe, number)]
        plain.step(clips, masks, step_values(recipe, recipe.clip_after + 1 + number))

    return step


def clips_of(recipe: PretrainRecipe, device: torch.device) -> torch.Tensor:
    """Return random clips `[B, 3, T, H, W]`."""
    a = recipe.encoder
    shape = (recipe.batch_size, 3, a.num_frames, a.image_size, a.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)


def masks_of(recipe: PretrainRecipe, number: int) -> list[Mask]:
    """Return the masks of step `number`, from 0."""
    return chunk_masks(recipe, range(recipe.batch_size), step=number + 1, seed=0)


def warmed(
    make: Callable[[PretrainRecipe, World], Step], recipe: PretrainRecipe, world: World
) -> tuple[Step, int]:
    """Make a step, run it a few times, and return it with the bytes of GPU memory that it takes."""
    on_gpu = world.device.type == "cuda"
    before = torch.cuda.memory_allocated(world.device) if on_gpu else 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(world.device)
    step = make(recipe, world)
    for number in range(WARM_STEPS):
        step(number)
    return step, torch.cuda.max_memory_allocated(world.device) - before if on_gpu else 0


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how long some work takes until the device has finished it."""
    begin = clock(device)
    work()
    return clock(device) - begin


def clock(device: torch.device) -> float:
    """Return the time in seconds once all work so far is done.

    With one thread on a CPU it is that of the process: waiting for other work does not count.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time() if alone else time.perf_counter()


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOP a second of a large square matmul."""
    size = MATMUL_SIZE[device.type]
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = left @ right
    taken = seconds(lambda: [torch.mm(left, right, out=product) for _ in range(MATMULS)], device)
    return MATMULS * 2 * size**3 / taken


def flop_of_clip(recipe: PretrainRecipe, masks: Sequence[Mask]) -> int:
    """Return the floating-point operations that a step needs for one clip under these masks."""
    a, p = recipe.encoder, recipe.predictor
    t, h, w = a.grid
    tubelet = 3 * a.tubelet_size * a.patch_size**2
    total = _linear(t * h * w, tubelet, a.width)
    total += a.depth * _block(t * h * w, a.width, a.mlp_hidden)
    for mask in masks:
        shown, predicted = mask.context.shape[1], mask.target.shape[1]
        total += 2 * _linear(shown, tubelet, a.width)
        total += 3 * a.depth * _block(shown, a.width, a.mlp_hidden)
        total += 3 * _linear(shown, a.width, p.width)
        total += 3 * p.depth * _block(shown + predicted, p.width, 4 * p.width)
        total += 3 * _linear(predicted, p.width, a.width)
    return total


def _linear(tokens: int, width: int, out_width: int) -> int:
    return 2 * tokens * width * out_width


def _block(tokens: int, width: int, hidden: int) -> int:
    return 2 * tokens * (4 * width**2 + 2 * width * hidden) + 4 * tokens**2 * width


def report(
    recipe: PretrainRecipe,
    device: torch.device,
    turns: Sequence[Turn],
    memory: Sequence[int],
    *,
    compiled: bool,
) -> str:
    """Return what was measured: the case in words, then a table in Markdown."""
    a, batch = recipe.encoder, recipe.batch_size
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    size = MATMUL_SIZE[device.type]
    lines = [
        f"torch {torch.__version__}, {name}, {torch.get_num_threads()} threads, {recipe.precision},"
        f" blocks {'compiled' if compiled else 'not compiled'}",
        f"width {a.width}, depth {a.depth}, {a.num_frames} frames of {a.image_size} pixels, batch"
        f" {batch}, medians of {len(turns)} turns",
        f"a step needs {median(t.flop for t in turns) / 1e12:.3f} TFLOP; matmul of {size} x {size}:"
        f" {median(t.peak for t in turns) / 1e12:.3f} TFLOP/s",
        "",
        "| step | clips/s | seconds | share of matmul | GiB of GPU memory |",
        "|---|---|---|---|---|",
    ]
    for title, taken, peak_bytes in (
        ("plain", [t.plain for t in turns], memory[0]),
        ("ours", [t.ours for t in turns], memory[1]),
    ):
        share = median(t.flop / s / t.peak for t, s in zip(turns, taken, strict=True))
        held = f"{peak_bytes / GIB:.1f}" if peak_bytes else "-"
        lines.append(
            f"| {title} | {batch / median(taken):.2f} | {median(taken):.4f} | {100 * share:.1f} %"
            f" | {held} |"
        )
    ratio = median(t.plain / t.ours for t in turns)
    return "\n".join([*lines, f"| ours / plain | {ratio:.2f} | | | |"])


if __name__ == "__main__":
    main()
