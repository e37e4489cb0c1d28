"""Measured speeds of encoders in a home, one JSON line each; tables show the newest of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.errors import DataError
from bench.files import parse_json

FILE = "speeds.jsonl"

Network = tuple[str, str | None, int, int]  # name, digest of the weights, frames and pixels


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Clips per second through a network (median, lowest, highest) over `repeats` calls of `batch`
    clips on a device, after a warm-up; made in UTC at `created`.
    """

    encoder: str
    weights_sha256: str | None
    num_frames: int
    image_size: int
    gflops: float | None
    device: str
    precision: str
    batch: int
    repeats: int
    median: float
    lowest: float
    highest: float
    created: str
    torch: str

    @property
    def network(self) -> Network:
        """What was measured."""
        return self.encoder, self.weights_sha256, self.num_frames, self.image_size

    @property
    def place(self) -> str:
        """What the number depends on besides the network."""
        return f"{self.precision}, batches of {self.batch} on {self.device}"


def keep_speed(home: Path, speed: Speed) -> Path:
    """Append a measurement to those of a home, and return their file."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(speed)) + "\n")
    return home / FILE


def newest_speeds(home: Path) -> Mapping[Network, Speed]:
    """Return the newest measurement of every network.

    Raises:
        DataError: a line that `keep_speed` did not write.
    """
    path, found = home / FILE, {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            speed = Speed(**parse_json(line))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{path}, line {number}, is not a measured speed ({error}); remove the line."
            ) from error
        found[speed.network] = speed
    return found
