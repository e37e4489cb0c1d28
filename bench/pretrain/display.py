"""A pretraining run on the terminal: a progress bar and the latest measurements, on stderr.

If stderr is not a terminal, every entry is printed as one line, for the log of a batch job.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Cell = tuple[str, str]  # a title and its formatted value
Format = tuple[str, str | None]  # a title and the format of its value (None: a list of sizes)

BARS = "▁▂▃▄▅▆▇█"
NUM_BARS = 16  # measurements in a sparkline
TRAINING: Mapping[str, Format] = {
    "loss": ("loss", "{:.4f}"),
    "std_loss": ("std loss", "{:.4f}"),
    "lr": ("lr", "{:.3g}"),
    "weight_decay": ("weight decay", "{:.3g}"),
    "momentum": ("momentum", "{:.6g}"),
    "encoder_norm": ("encoder grad", "{:.3g}"),
    "predictor_norm": ("predictor grad", "{:.3g}"),
}
SPEED: Mapping[str, Format] = {
    "clips_per_second": ("clips/s", "{:,.1f}"),
    "step_seconds": ("s/step", "{:.3g}"),
    "data_wait": ("data wait", "{:.0%}"),
    "memory_gb": ("GPU memory", "{:.1f} GB"),
    "context_tokens": ("context", None),
    "target_tokens": ("target", None),
    "unreadable": ("unreadable", "{:,}"),
}
MEASURED: Mapping[str, Mapping[str, Format]] = {
    "online": {"knn": ("online kNN", "{:.1%}"), "linear": ("online linear", "{:.1%}")},
    "health": {
        "feature_std": ("feature std", "{:.3g}"),
        "token_std": ("token std", "{:.3g}"),
        "relative_std": ("relative std", "{:.3g}"),
        "effective_rank": ("effective rank", "{:.3g}"),
        "target_norm": ("target norm", "{:.3g}"),
        "similarity": ("token cosine", "{:.3g}"),
    },
}
HIDDEN_IF_ZERO = ("std_loss", "context_tokens", "target_tokens")  # zero, or an empty list


class Display:
    """Shows the entries of a run as they come; a context manager.

    Only `step` is required; other keys keep their last value, except that an alarm ends with the
    next `health` that comes without one. Keys: step, num_steps, loss, std_loss, lr, weight_decay,
    momentum, encoder_norm, predictor_norm, context_tokens and target_tokens (lists),
    clips_per_second, data_wait (fraction), step_seconds, memory_gb, unreadable (count), health and
    online (tables), alarm (sentence). `clock` gives seconds.
    """

    def __init__(
        self,
        title: str = "pretrain",
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console or Console(stderr=True)
        self._title = title
        self._clock = clock
        self._state: dict[str, Any] = {}
        self._past: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=NUM_BARS))
        self._start: tuple[float, int] | None = None
        self._now = 0.0
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self.render, console=self.console, refresh_per_second=4
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, entry: Mapping[str, Any]) -> None:
        """Show an entry; without a terminal, print it unless it only has its step."""
        self._merge(entry)
        if not self.console.is_terminal and entry.keys() - {"step", "num_steps"}:
            self.console.print(
                self._line(entry), highlight=False, markup=False, soft_wrap=True, emoji=False
            )

    def render(self) -> RenderableType:
        """Return the progress bar and the panel of current values."""
        table = Table.grid(padding=(0, 3))
        state = self._state
        columns = _cells(state, TRAINING), _cells(state, SPEED), _measured_cells(state, self._past)
        for row in zip_longest(*columns, fillvalue=("", "")):
            table.add_row(
                *(text for title, value in row for text in (Text(title, style="dim"), Text(value)))
            )
        parts: list[RenderableType] = [self._bar(), table]
        if self._state.get("alarm"):
            parts.append(Text(str(self._state["alarm"]), style="bold red"))
        return Panel(Group(*parts), title=self._title, title_align="left")

    def _merge(self, entry: Mapping[str, Any]) -> None:
        if entry.get("health"):
            self._state.pop("alarm", None)
        self._state.update({key: value for key, value in entry.items() if value is not None})
        for table in ("health", "online"):
            for key, value in (entry.get(table) or {}).items():
                if _is_number(value):
                    self._past[f"{table}.{key}"].append(value)
        # Not on redraw, where a pause between entries would count as slow steps.
        self._now = self._clock()
        if self._start is None and "step" in entry:
            self._start = self._now, entry["step"]

    def _bar(self) -> RenderableType:
        step, total = self._state.get("step", 0), self._state.get("num_steps")
        grid = Table.grid(padding=(0, 2))
        if total:
            bar = ProgressBar(total=total, completed=step, width=36)
            grid.add_row(bar, f"step {step:,}/{total:,}", self._remaining())
        else:
            grid.add_row(f"step {step:,}")
        return grid

    def _remaining(self) -> str:
        """Extrapolate from the mean rate since the display began, pauses included."""
        step, total = self._state.get("step", 0), self._state.get("num_steps")
        if self._start is None or not total:
            return ""
        start, first = self._start
        if step <= first:
            return ""
        seconds = (self._now - start) / (step - first) * (total - step)
        return f"{_duration(seconds)} left"

    def _line(self, entry: Mapping[str, Any]) -> str:
        total = self._state.get("num_steps")
        place = f"step {entry.get('step', '?')}" + (f"/{total}" if total else "")
        cells = [*_cells(entry, TRAINING), *_cells(entry, SPEED), *_measured_cells(entry, {})]
        ends = [self._remaining(), f"ALARM {entry['alarm']}" if entry.get("alarm") else ""]
        values = (f"{title} {text}" for title, text in cells)
        return "  ".join([place, *values, *filter(None, ends)])


def sparkline(values: Iterable[float]) -> str:
    """Return one bar per value, scaled from smallest to largest; "" for fewer than two values."""
    numbers = list(values)
    if len(numbers) < 2:
        return ""
    low, high = min(numbers), max(numbers)
    if low == high:
        return BARS[len(BARS) // 2] * len(numbers)
    top = len(BARS) - 1
    return "".join(BARS[round((value - low) / (high - low) * top)] for value in numbers)


def _cells(values: Mapping[str, Any], formats: Mapping[str, Format]) -> Iterator[Cell]:
    for key, (title, form) in formats.items():
        value = values.get(key)
        if value is None or (key in HIDDEN_IF_ZERO and not value):
            continue
        if form is None:
            yield title, " ".join(map(str, value))
        else:
            yield title, form.format(value) if _is_number(value) else "not finite"


def _measured_cells(
    entry: Mapping[str, Any], past: Mapping[str, Iterable[float]]
) -> Iterator[Cell]:
    for table, formats in MEASURED.items():
        for key, format_ in formats.items():
            bars = sparkline(past.get(f"{table}.{key}", ()))
            for title, text in _cells(entry.get(table) or {}, {key: format_}):
                yield title, f"{text} {bars}".rstrip()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _duration(seconds: float) -> str:
    """Format in at most two units: 3d 4h, 2h 05m, 1m 09s, 9s."""
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {whole % 60:02d}s" if minutes else f"{whole}s"
