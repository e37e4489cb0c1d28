"""From the command to the training loop in four frames, as docs/architecture.md shows them."""

import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import registry
from bench.cli.main import app
from bench.types import Probe
from probes.linear import linear

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| \d \| `([^`]+)` \| `(\w+)` \|", re.MULTILINE)


class Spy:
    """A probe that keeps the stack whenever it is fitted."""

    def __init__(self, probe: Probe, stacks: list[traceback.StackSummary]) -> None:
        self.probe, self.stacks = probe, stacks

    def __getattr__(self, name: str) -> Any:
        return getattr(self.probe, name)

    def only(self, index: int) -> "Spy":
        return Spy(self.probe.only(index), self.stacks)

    def fit(self, source: Any, **options: Any) -> Any:
        self.stacks.append(traceback.extract_stack())
        return self.probe.fit(source, **options)


def frames_of(stack: Sequence[traceback.FrameSummary]) -> list[tuple[str, str]]:
    """(file, function) of the frames of the product."""
    paths = [(Path(frame.filename), frame.name) for frame in stack]
    return [(str(p.relative_to(ROOT)), name) for p, name in paths if ROOT / "bench" in p.parents]


def test_probe_is_fitted_four_frames_below_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks: list[traceback.StackSummary] = []

    def spy() -> Spy:
        """A sweep of two heads, chosen honestly: it is fitted twice."""
        return Spy(linear(lr=(1e-2, 1e-3), epochs=1, batch_size=16), stacks)

    entry = registry.Entry(kind="probes", name="spy", function=spy)
    monkeypatch.setitem(registry._ENTRIES["probes"], "spy", entry)
    words = [
        "run", "-m", "pixel_mean", "-t", "moving_digits_stills", "-p", "spy", "--limit", "32",
        "--set", "task.size=small", "--workers", "0", "--home", tmp_path, "--data", tmp_path,
    ]  # fmt: skip
    ended = CliRunner().invoke(app, [str(word) for word in words])
    assert ended.exit_code == 3, ended.output  # a limited run is not reportable
    *shown, (_, last) = ROW.findall((ROOT / "docs" / "architecture.md").read_text())
    trial, *fits = stacks  # a probe of another distribution is tried on random rows first
    assert (
        len(shown) == 3 and len(fits) == 2 and "try_fit" in [name for _, name in frames_of(trial)]
    )
    for stack in fits:
        assert frames_of(stack) == shown and stack[-1].name == last == "fit"
