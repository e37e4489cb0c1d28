"""A pretraining run on the terminal: a bar of its steps and what was measured last, on stderr.

On something that is no terminal every entry is one line, so that a batch job's log can be read.
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

Shown = tuple[str, str]  # a title and its value
Format = tuple[str, str | None]  # a title, and how its value is written (None: a list of sizes)

BARS = "▁▂▃▄▅▆▇█"
NUM_BARS = 16  # measurements in a sparkline
# What is shown of an entry, by its keys.
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

    An entry may leave everything out but `step`; what it leaves out stays as it was, but an alarm
    goes out with the next `health` that comes without one. Keys: step, num_steps, loss, std_loss,
    lr, weight_decay, momentum, encoder_norm, predictor_norm, context_tokens and target_tokens
    (lists), clips_per_second, data_wait (share 0-1), step_seconds, memory_gb, unreadable (count),
    health and online (tables), alarm (sentence). `clock` gives seconds.
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
        self._begin: tuple[float, int] | None = None
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
        """Show an entry; without a terminal print it, if it holds more than its step."""
        self._take(entry)
        if not self.console.is_terminal and entry.keys() - {"step", "num_steps"}:
            self.console.print(
                self._line(entry), highlight=False, markup=False, soft_wrap=True, emoji=False
            )

    def render(self) -> RenderableType:
        """Return the bar and the panel of what is known now."""
        table = Table.grid(padding=(0, 3))
        state = self._state
        columns = _shown(state, TRAINING), _shown(state, SPEED), _measured(state, self._past)
        for row in zip_longest(*columns, fillvalue=("", "")):
            table.add_row(
                *(text for title, value in row for text in (Text(title, style="dim"), Text(value)))
            )
        parts: list[RenderableType] = [self._bar(), table]
        if self._state.get("alarm"):
            parts.append(Text(str(self._state["alarm"]), style="bold red"))
        return Panel(Group(*parts), title=self._title, title_align="left")

    def _take(self, entry: Mapping[str, Any]) -> None:
        if entry.get("health"):
            self._state.pop("alarm", None)
        self._state.update({key: value for key, value in entry.items() if value is not None})
        for table in ("health", "online"):
            for key, value in (entry.get(table) or {}).items():
                if _is_number(value):
                    self._past[f"{table}.{key}"].append(value)
        # Not when drawing: a pause between entries would seem to slow the run.
        self._now = self._clock()
        if self._begin is None and "step" in entry:
            self._begin = self._now, entry["step"]

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
        """The rate since the display began, all pauses included, says when the run will end."""
        step, total = self._state.get("step", 0), self._state.get("num_steps")
        if self._begin is None or not total:
            return ""
        begin, first = self._begin
        if step <= first:
            return ""
        seconds = (self._now - begin) / (step - first) * (total - step)
        return f"{_duration(seconds)} left"

    def _line(self, entry: Mapping[str, Any]) -> str:
        total = self._state.get("num_steps")
        place = f"step {entry.get('step', '?')}" + (f"/{total}" if total else "")
        held = [*_shown(entry, TRAINING), *_shown(entry, SPEED), *_measured(entry, {})]
        ends = [self._remaining(), f"ALARM {entry['alarm']}" if entry.get("alarm") else ""]
        return "  ".join([place, *(f"{title} {text}" for title, text in held), *filter(None, ends)])


def sparkline(values: Iterable[float]) -> str:
    """Return one bar a value, the smallest lowest and the largest highest; "" for less than two."""
    numbers = list(values)
    if len(numbers) < 2:
        return ""
    low, high = min(numbers), max(numbers)
    if low == high:
        return BARS[len(BARS) // 2] * len(numbers)
    top = len(BARS) - 1
    return "".join(BARS[round((value - low) / (high - low) * top)] for value in numbers)


def _shown(values: Mapping[str, Any], wanted: Mapping[str, Format]) -> Iterator[Shown]:
    """Yield nothing for what was not measured; a number that is not finite is said in words."""
    for key, (title, form) in wanted.items():
        value = values.get(key)
        if value is None or (key in HIDDEN_IF_ZERO and not value):
            continue
        if form is None:
            yield title, " ".join(map(str, value))
        else:
            yield title, form.format(value) if _is_number(value) else "not finite"


def _measured(entry: Mapping[str, Any], past: Mapping[str, Iterable[float]]) -> Iterator[Shown]:
    for table, wanted in MEASURED.items():
        for key, format_ in wanted.items():
            bars = sparkline(past.get(f"{table}.{key}", ()))
            for title, text in _shown(entry.get(table) or {}, {key: format_}):
                yield title, f"{text} {bars}".rstrip()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _duration(seconds: float) -> str:
    """Two units are enough: 3d 4h, 2h 05m, 1m 09s, 9s."""
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {whole % 60:02d}s" if minutes else f"{whole}s"
