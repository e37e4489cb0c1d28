"""From the command to the training loop in four frames: run, evaluate, fit_and_score, fit."""

import traceback
from pathlib import Path

from typer.testing import CliRunner

import bench
from bench import registry
from bench.cli.main import app
from probes.linear import linear

ROOT = Path(bench.__file__).parent


class Spy:
    """A probe that notes the stack whenever it is fitted."""

    def __init__(self, probe, stacks) -> None:
        self.probe, self.stacks = probe, stacks

    def __getattr__(self, name):
        return getattr(self.probe, name)

    def only(self, index):
        return Spy(self.probe.only(index), self.stacks)

    def fit(self, source, *, seed, device, progress):
        self.stacks.append(traceback.extract_stack())
        return self.probe.fit(source, seed=seed, device=device, progress=progress)


def test_probe_is_fitted_four_frames_below_the_command(tmp_path, monkeypatch) -> None:
    stacks = []

    def spy():
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
    assert len(stacks) == 2
    for stack in stacks:
        ours = [frame.name for frame in stack if ROOT in Path(frame.filename).parents]
        assert ours == ["run", "evaluate", "fit_and_score"]
        assert stack[-1].name == "fit" and Path(stack[-1].filename) == Path(__file__)
        assert stack[-2].name == "fit_and_score"
