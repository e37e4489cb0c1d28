"""A pretraining run on the terminal: a bar of its steps and what was measured last, on stderr.

On something that is no terminal every entry is one line, so that a batch job's log can be read.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Shown = tuple[str, str]  # a title and its value

BARS = "▁▂▃▄▅▆▇█"
NUM_BARS = 16  # measurements in a sparkline
HEALTH = {
    "feature_std": "feature std",
    "token_std": "token std",
    "relative_std": "relative std",
    "effective_rank": "effective rank",
    "target_norm": "target norm",
    "similarity": "token cosine",
}
ONLINE = {"knn": "online kNN", "linear": "online linear"}


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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        parts: list[RenderableType] = [self._bar()]
        table = Table.grid(padding=(0, 3))
        columns = _training(self._state), _speed(self._state), _measured(self._state, self._past)
        for row in _side_by_side(*columns):
            table.add_row(*row)
        parts.append(table)
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
        held = [*_training(entry), *_speed(entry), *_measured(entry, {})]
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


def _training(s: Mapping[str, Any]) -> Iterable[Shown]:
    yield from _shown(s, "loss", "loss", "{:.4f}")
    if s.get("std_loss"):
        yield from _shown(s, "std_loss", "std loss", "{:.4f}")
    yield from _shown(s, "lr", "lr", "{:.3g}")
    yield from _shown(s, "weight_decay", "weight decay", "{:.3g}")
    yield from _shown(s, "momentum", "momentum", "{:.6g}")
    yield from _shown(s, "encoder_norm", "encoder grad", "{:.3g}")
    yield from _shown(s, "predictor_norm", "predictor grad", "{:.3g}")


def _speed(s: Mapping[str, Any]) -> Iterable[Shown]:
    yield from _shown(s, "clips_per_second", "clips/s", "{:,.1f}")
    yield from _shown(s, "step_seconds", "s/step", "{:.3g}")
    yield from _shown(s, "data_wait", "data wait", "{:.0%}")
    yield from _shown(s, "memory_gb", "GPU memory", "{:.1f} GB")
    for key, title in (("context_tokens", "context"), ("target_tokens", "target")):
        if s.get(key):
            yield title, " ".join(map(str, s[key]))
    yield from _shown(s, "unreadable", "unreadable", "{:,}")


def _measured(s: Mapping[str, Any], past: Mapping[str, Iterable[float]]) -> Iterable[Shown]:
    for table, titles, form in (("online", ONLINE, "{:.1%}"), ("health", HEALTH, "{:.3g}")):
        values = s.get(table) or {}
        for key, title in titles.items():
            bars = sparkline(past.get(f"{table}.{key}", ()))
            for _, text in _shown(values, key, title, form):
                yield title, f"{text} {bars}".rstrip()


def _shown(values: Mapping[str, Any], key: str, title: str, form: str) -> Iterable[Shown]:
    """Yield nothing for what was not measured; a number that is not finite is said in words."""
    value = values.get(key)
    if value is not None:
        yield title, form.format(value) if _is_number(value) else "not finite"


def _side_by_side(*columns: Iterable[Shown]) -> Iterable[list[Text]]:
    """Lay columns of titles and values next to each other, row by row."""
    held = [list(column) for column in columns]
    for row in range(max(map(len, held))):
        pairs = [column[row] if row < len(column) else ("", "") for column in held]
        yield [text for title, value in pairs for text in (Text(title, style="dim"), Text(value))]


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
