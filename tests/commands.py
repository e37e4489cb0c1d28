"""What the fixtures that run commands are called with, and give."""

from collections.abc import Callable
from typing import Any

Bench = Callable[..., tuple[int, str, str]]  # the words of a command -> exit code, stdout, stderr
Records = Callable[..., list[dict[str, Any]]]  # the options of `bench run` -> its records
