"""Where long loops report to."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Where long loops report to: a rich bar on a terminal, nothing in a test."""

    def start(self, title: str, total: int) -> None:
        """Begin a loop of `total` steps."""

    def advance(self, steps: int = 1) -> None:
        """Count steps that are done."""

    def stop(self) -> None:
        """End the loop, whether or not all steps were done."""


class Silent:
    """A `Progress` that shows nothing."""

    def start(self, title: str, total: int) -> None:
        """Ignore the start of a loop."""

    def advance(self, steps: int = 1) -> None:
        """Ignore a step."""

    def stop(self) -> None:
        """Ignore the end of a loop."""
