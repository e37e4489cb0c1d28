"""Progress bars on the terminal: one line per loop, on stderr, so that stdout stays data."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

WIDE = 200  # columns


def open_console(*, to_stderr: bool = False) -> Console:
    """Return the console for tables; a pipe gets wide lines, so nothing is truncated."""
    console = Console(stderr=to_stderr)
    return console if console.is_terminal else Console(stderr=to_stderr, width=WIDE)


class TerminalProgress:
    """A `Progress` drawn by rich; if stderr is not a terminal, it prints one line per loop."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._bars: Bars | None = None
        self._title, self._total, self._done = "", 0, 0

    def start(self, title: str, total: int) -> None:
        """Begin a loop of `total` steps; a loop that is still open is ended first."""
        self.stop()
        self._title, self._total, self._done = title, total, 0
        if not self.console.is_terminal:
            return
        self._bars = Bars(
            TextColumn("{task.description:<44}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=self.console,
        )
        self._bars.add_task(title, total=total)
        self._bars.start()

    def advance(self, steps: int = 1) -> None:
        """Count `steps` more finished steps."""
        self._done += steps
        if self._bars is not None:
            self._bars.advance(self._bars.task_ids[0], steps)

    def stop(self) -> None:
        """End the loop, leaving its last line on the screen."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        elif self._title:
            self.console.print(f"{self._title}: {self._done}/{self._total}", highlight=False)
        self._title = ""
