"""The published numbers that ship with the project: `results.csv`, one number per line.

Their sources and how they were read are documented in `leaderboards/papers.py`.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from bench.publish.leaderboard import PublishedNumber
from bench.publish.paper_numbers import read_numbers


@cache
def numbers_of(source: str) -> tuple[PublishedNumber, ...]:
    """Return the numbers of one publication in the order of its tables."""
    return tuple(number for number in _all_numbers() if number.source == source)


@cache
def _all_numbers() -> tuple[PublishedNumber, ...]:
    with resources.as_file(resources.files(__name__).joinpath("results.csv")) as path:
        return read_numbers(Path(path))
