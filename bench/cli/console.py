"""What is written to the terminal: text, tables, and progress on stderr, so that stdout stays data.

Names in files may hold control characters, which a terminal obeys: they are shown as escapes.
"""

from __future__ import annotations

import logging
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from bench.errors import visible, without_secrets

WIDE = 200  # columns


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text, made `visible`; messages to stderr have no secrets of addresses."""
    typer.echo(visible(without_secrets(text) if err else text), err=err, nl=nl)


class VisibleFormatter(logging.Formatter):
    """Formats log lines, made `visible` and without secrets of addresses."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return visible(without_secrets(super().format(record)))


class _Visible(Console):
    """Prints strings as they are, made `visible`; markup is for `rich.text.Text` alone."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text of a string, such as a cell of a table."""
        return super().render_str(visible(text), **{**options, "markup": False, "emoji": False})


def open_console(*, to_stderr: bool = False) -> Console:
    """Return the console for tables; a pipe gets wide lines, so nothing is truncated."""
    console = _Visible(stderr=to_stderr)
    return console if console.is_terminal else _Visible(stderr=to_stderr, width=WIDE)


class TerminalProgress:
    """A `Progress` drawn by rich; if stderr is not a terminal, it prints one line per loop."""

    def __init__(self) -> None:
        self.console = open_console(to_stderr=True)
        self._bars: Bars | None = None
        self._title, self._total, self._done = "", 0, 0

    def start(self, title: str, total: int) -> None:
        """Begin a loop of `total` steps; a loop that is still open is ended first."""
        self.stop()
        self._title, self._total, self._done = title, total, 0
        if not self.console.is_terminal:
            return
        self._bars = Bars(
            TextColumn("{task.description:<44}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=self.console,
        )
        self._bars.add_task(visible(title), total=total)
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
