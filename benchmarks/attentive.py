"""Time a training step of folded attentive probes against plain ones: one head, and twenty.

Run `python -m benchmarks.attentive` (`--quick` for the small cases, `--width`, `--tokens` and
`--batch` for one). A step is forward, loss, backward, clipping and AdamW, fused on both sides.
Plain and folded steps alternate, and the fastest of each counts: other work on the machine only
ever adds time. Twenty plain heads that would take longer than `--loop-seconds` are given as twenty
times one plain head and marked with *.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from benchmarks.plain_attentive import PlainAttentiveProbe
from probes.stack.attentive_head import AttentiveHeads
from probes.stack.optimizer import StackedOptimizer
from probes.stack.train_heads import head_losses

NUM_CLASSES = 400
SWEEP = 20
ATTENTION_HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16}
WARM_STEPS = 1
Step = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Sizes of one comparison; `batch` counts samples of `tokens` tokens."""

    width: int
    tokens: int
    batch: int

    def data(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return random tokens `[batch, tokens, width]` and labels."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(self.batch, self.tokens, self.width, generator=generator)
        y = torch.randint(NUM_CLASSES, (self.batch,), generator=generator)
        return x.to(device), y.to(device)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Least seconds of a step; `sweep_plain` is extrapolated where `is_extrapolated`."""

    one_plain: float
    one_folded: float
    sweep_plain: float
    sweep_folded: float
    is_extrapolated: bool


def main() -> None:
    """Parse the options, run the cases and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only width 384 with 1568 tokens")
    parser.add_argument("--width", type=int, nargs="+", default=[384, 1024])
    parser.add_argument("--tokens", type=int, nargs="+", default=[196, 1568, 12544])
    parser.add_argument("--batch", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--loop-seconds", type=float, default=60.0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    widths, tokens = ([384], [1568]) if options.quick else (options.width, options.tokens)
    device = torch.device(options.device)
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads\n")
    print("| width | tokens | batch | 1 plain | 1 folded | ratio | 20 plain | 20 folded | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    for width, length, batch in itertools.product(widths, tokens, options.batch):
        case = Case(width=width, tokens=length, batch=batch)
        print(row(case, measure(case, device, options.repeats, options.loop_seconds)), flush=True)


def row(case: Case, timing: Timing) -> str:
    """Return one line of the table, times in milliseconds."""
    star = "*" if timing.is_extrapolated else ""
    cells = [
        str(case.width),
        str(case.tokens),
        str(case.batch),
        f"{1e3 * timing.one_plain:.1f}",
        f"{1e3 * timing.one_folded:.1f}",
        f"{timing.one_plain / timing.one_folded:.1f}",
        f"{1e3 * timing.sweep_plain:.0f}{star}",
        f"{1e3 * timing.sweep_folded:.0f}",
        f"{timing.sweep_plain / timing.sweep_folded:.1f}{star}",
    ]
    return f"| {' | '.join(cells)} |"


def measure(case: Case, device: torch.device, repeats: int, loop_seconds: float) -> Timing:
    """Time the four kinds of step of one case; the loop over plain heads only if it is short."""
    x, y = case.data(device)
    one_plain, one_folded = fastest(
        [plain_step(case, 1, x, y), folded_step(case, 1, x, y)], repeats, device
    )
    is_long = SWEEP * one_plain * (repeats + WARM_STEPS) > loop_seconds
    steps = [folded_step(case, SWEEP, x, y)]
    if not is_long:
        steps.append(plain_step(case, SWEEP, x, y))
    timed = fastest(steps, repeats, device)
    del steps
    gc.collect()
    return Timing(
        one_plain=one_plain,
        one_folded=one_folded,
        sweep_folded=timed[0],
        sweep_plain=SWEEP * one_plain if is_long else timed[1],
        is_extrapolated=is_long,
    )


def fastest(steps: list[Step], repeats: int, device: torch.device) -> list[float]:
    """Return the least seconds of each step, taken in turns after a warm-up."""
    for step in steps * WARM_STEPS:
        step()
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats):
        for step, taken in zip(steps, times, strict=True):
            begin = clock(device)
            step()
            taken.append(clock(device) - begin)
    return [min(taken) for taken in times]


def clock(device: torch.device) -> float:
    """Return the time in seconds once all work so far is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def plain_step(case: Case, num_heads: int, x: torch.Tensor, y: torch.Tensor) -> Step:
    """Return a training step that loops over plain probes, each with its own optimizer."""
    probes = [
        PlainAttentiveProbe(
            width=case.width,
            num_attention_heads=ATTENTION_HEADS[case.width],
            num_classes=NUM_CLASSES,
        ).to(x.device)
        for _ in range(num_heads)
    ]
    optimizers = [torch.optim.AdamW(p.groups(0.01), lr=1e-4, fused=True) for p in probes]

    def step() -> None:
        for probe, optimizer in zip(probes, optimizers, strict=True):
            optimizer.zero_grad()
            functional.cross_entropy(probe(x), y).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
            optimizer.step()

    return step


def folded_step(case: Case, num_heads: int, x: torch.Tensor, y: torch.Tensor) -> Step:
    """Return a training step of the stack of folded probes."""
    stack = AttentiveHeads(
        num_probes=num_heads,
        width=case.width,
        num_attention_heads=ATTENTION_HEADS[case.width],
        num_classes=NUM_CLASSES,
    )
    stack.initialise(seed=0)
    stack.to(x.device)
    optimizer = StackedOptimizer(stack)
    lr, weight_decay = [1e-4] * num_heads, [0.01] * num_heads

    def step() -> None:
        head_losses(stack(x), y).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step(lr=lr, weight_decay=weight_decay, clip_norm=1.0)

    return step


if __name__ == "__main__":
    main()
