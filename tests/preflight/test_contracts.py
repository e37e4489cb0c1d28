"""What is built by a user's own function is checked against its contract before any decoding."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Never

import numpy as np
import pytest
import torch

from bench import contracts, registry
from bench.data.manifest import Manifest, Task
from bench.errors import UsageError
from bench.preflight import probe_contract, task_contract
from bench.publish import write_board
from bench.publish.leaderboard import Column, Leaderboard
from bench.types import ClipPlan, EncoderSpec, FeatureSource, Head, Tokens


class Means:
    """The nearest class mean, as somebody might write it."""

    name, reads, heads, settings = "means", "vector", (Head(settings={}),), {}

    def only(self, index: int) -> Any:
        return self

    def fit(self, source: FeatureSource, *, seed: int, device: Any, progress: Any) -> Any:
        torch.rand(3)
        [batch] = source.epoch(0, batch_size=len(source))
        y = batch.y if batch.y.ndim == 2 else torch.eye(source.num_classes)[batch.y]
        return FittedMeans(y.float().T @ batch.x[:, 0] / y.sum(0)[:, None])

    def restore(self, tensors: Any, facts: Any) -> Any:
        return FittedMeans(tensors["means"])

    def read_released(self, path: Path) -> Never:
        raise UsageError(f"{path}: means are not released.")


class FittedMeans:
    heads, log = Means.heads, {}

    def __init__(self, means: Any) -> None:
        self.means = means

    def probabilities(self, x: Any) -> Any:
        return (-torch.cdist(x.flatten(0, 1), self.means)).softmax(-1).unsqueeze(0)

    def state(self) -> Any:
        return {"means": self.means}, {"classes": len(self.means)}


def without(kind: str, member: str) -> Any:
    """A class like `kind` in which one member is missing."""
    held = {key: value for key, value in vars(kind).items() if key not in (member, "__dict__")}
    return type(kind.__name__, (), held)


def try_fit(probe: Any, many_labels: bool = False) -> None:
    probe_contract.try_fit("mine", probe, width=6, num_classes=3, many_labels=many_labels)


def refused(call: Any, *words: Any) -> Any:
    """The error of a call: of exit code 2, one sentence, with these words in it."""
    with pytest.raises(UsageError) as caught:
        call()
    sentence = str(caught.value)
    assert caught.value.exit_code == 2 and "\n" not in sentence and sentence.endswith(".")
    assert "should" in sentence
    for word in words:
        assert word in sentence, sentence
    return sentence


# ------------------------------------------------------------------------------------------ probes
@pytest.mark.parametrize("many_labels", [False, True])
def test_a_sound_probe_passes_and_leaves_the_random_state_alone(many_labels: bool) -> None:
    torch.manual_seed(5)
    probe_contract.require_probe("mine", Means())
    try_fit(Means(), many_labels)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize("member", probe_contract.PROBE)
def test_each_missing_member_of_a_probe_is_named(member: str) -> None:
    probe = without(Means, member)()
    refused(
        lambda: probe_contract.require_probe("mine", probe), "'mine'", f"Means.{member} is missing"
    )


@pytest.mark.parametrize(
    ("member", "value", "words"),
    [
        ("name", "", "a non-empty string"),
        ("reads", "pixels", "is 'pixels'; it should be 'vector' or 'tokens'"),
        ("heads", (), "a non-empty sequence of bench.Head"),
        ("heads", ({"lr": 1},), "a non-empty sequence of bench.Head"),
        ("settings", ["lr"], "a mapping from names to values"),
        ("only", lambda: None, "takes (); it should be a method only(index)"),
        ("only", lambda index: None, "only(0) has the heads None"),
        ("fit", lambda source: None, "fit takes (source); it should be a method fit(source, *,"),
        ("fit", None, "fit is None; it should be a method fit(source, *, seed, device, progress)"),
        ("restore", lambda tensors: None, "a method restore(tensors, facts)"),
        ("read_released", lambda: None, "a method read_released(path)"),
    ],
)
def test_each_member_of_a_probe_of_another_kind_is_named(
    member: str, value: Any, words: str
) -> None:
    probe = Means()
    setattr(probe, member, value)
    refused(lambda: probe_contract.require_probe("mine", probe), f"Means.{member}", words)


@pytest.mark.parametrize("member", probe_contract.FITTED)
def test_each_missing_member_of_what_fit_returns_is_named(member: str) -> None:
    fitted = without(FittedMeans, member)
    probe = Means()
    probe.fit = lambda source, **more: fitted(torch.zeros(source.num_classes, source.width))
    refused(lambda: try_fit(probe), "what fit returns", f"FittedMeans.{member} is missing")


@pytest.mark.parametrize(
    ("member", "value", "words"),
    [
        ("heads", (Head(settings={"k": 3}),), "should only hold heads of the probe"),
        ("log", None, "FittedMeans.log is None; it should be a mapping"),
        ("probabilities", lambda: 0, "a method probabilities(x)"),
        ("probabilities", lambda x: [0.5], "probabilities gives a list"),
        ("probabilities", lambda x: torch.ones(32, 3) / 3, "shape (32, 3); it should give"),
        ("probabilities", lambda x: torch.ones(1, 32, 3), "that sum to 1"),
        ("probabilities", lambda x: torch.tensor([2.0, -1, 0]).expand(1, 32, 3), "probabilities ["),
        ("state", lambda: {"means": torch.ones(1)}, "state gives a dict; it should give a dict of"),
        ("state", lambda: ({"means": [1.0]}, {}), "a dict of tensors and one of facts"),
        ("state", lambda: ({}, {"device": torch.device("cpu")}), "facts that are not JSON-able"),
    ],
)
def test_each_member_of_what_fit_returns_of_another_kind_is_named(
    member: str, value: Any, words: str
) -> None:
    def fit(source: FeatureSource, **more: Any) -> Any:
        fitted = Means.fit(probe, source, **more)
        setattr(fitted, member, value)
        return fitted

    probe = Means()
    probe.fit = fit
    refused(lambda: try_fit(probe), "FittedMeans", words)


def test_a_fit_that_returns_nothing_is_named() -> None:
    probe = Means()
    probe.fit = lambda source, **more: None
    refused(lambda: try_fit(probe), "what fit returns is None")


def test_a_restore_that_rebuilds_something_else_is_named() -> None:
    probe = Means()
    probe.restore = lambda tensors, facts: FittedMeans(1 + 2 * tensors["means"])
    refused(lambda: try_fit(probe), "Means.restore gives other probabilities")
    probe.restore = lambda tensors, facts: None
    refused(lambda: try_fit(probe), "what restore returns is None")


def test_a_fit_that_diverges_on_random_rows_is_none_of_this_checks_business() -> None:
    probe = Means()
    probe.fit = lambda source, **more: FittedMeans(torch.full((3, 6), torch.nan))
    try_fit(probe)


def test_a_fit_that_refuses_so_few_rows_is_only_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    def fit(source: FeatureSource, **more: Any) -> Never:
        raise ValueError("100 neighbours are more than 32 rows")

    probe = Means()
    probe.fit = fit
    try_fit(probe)
    assert "100 neighbours are more than 32 rows" in caplog.text and "'mine'" in caplog.text


def test_probes_of_this_distribution_are_not_fitted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = registry.build("probes", "linear", {})
    monkeypatch.setattr(type(probe), "fit", lambda *_, **__: pytest.fail("fitted"))
    try_fit(probe)


@pytest.mark.parametrize("name", registry.names("probes"))
def test_our_own_probes_would_pass(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    needed = {"num_heads": 2} if "num_heads" in registry.find("probes", name).options else {}
    probe = registry.build("probes", name, needed)
    probe_contract.require_probe(name, probe)
    monkeypatch.setattr(registry, "is_ours", lambda module: False)
    try_fit(probe.only(0))
    if name in ("linear", "attentive"):
        try_fit(probe.only(0), many_labels=True)
    assert not caplog.records


# ---------------------------------------------------------------------------------------- encoders
SPEC = EncoderSpec(
    name="mine", width=3, depth=1, num_heads=1, num_frames=4, image_size=16, patch_size=8,
    tubelet_size=4, source="none",
)  # fmt: skip


def encoder(spec: Any = SPEC, forward: Any = lambda pixels, *, keep=None, layers=None: None) -> Any:
    return SimpleNamespace(spec=spec, network=SimpleNamespace(forward=forward))


@pytest.mark.parametrize("member", contracts.SPEC)
def test_each_member_of_a_spec_that_is_missing_or_of_another_kind_is_named(member: str) -> None:
    refused(
        lambda: contracts.require_encoder("mine", encoder(replace(SPEC, **{member: None}))),
        f"EncoderSpec.{member} is None",
    )
    spec = replace(SPEC)
    object.__delattr__(spec, member)
    if not hasattr(EncoderSpec, member):  # a default is there even so
        wanted = f"EncoderSpec.{member} is missing"
        refused(lambda: contracts.require_encoder("mine", encoder(spec)), wanted)


def test_a_network_that_takes_other_arguments_is_named() -> None:
    contracts.require_encoder("mine", encoder())
    wanted = "SimpleNamespace.forward takes (pixels); it should be a method forward(pixels, *, keep"
    refused(lambda: contracts.require_encoder("mine", encoder(forward=lambda pixels: 0)), wanted)
    wanted = "its spec is None; it should be of the class bench.EncoderSpec"
    refused(lambda: contracts.require_encoder("mine", encoder(spec=None)), wanted)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (torch.zeros(2, 4, 3), "returns a Tensor; it should return bench.Tokens"),
        (None, "returns None"),
        (Tokens(layers=(), grid=(1, 2, 2)), "of shape nothing"),
        (Tokens(layers=(torch.zeros(2, 5, 3),), grid=(1, 2, 2)), "(2, 5, 3); it should be one"),
        (Tokens(layers=(torch.zeros(2, 4, 7),), grid=(1, 2, 2)), "of shape (2, 4, 3)"),
    ],
)
def test_a_network_that_returns_something_else_is_named(made: Any, words: str) -> None:
    good = Tokens(layers=(torch.zeros(2, 4, 3),), grid=(1, 2, 2))
    contracts.require_tokens(SPEC, good, num_clips=2)
    refused(lambda: contracts.require_tokens(SPEC, made, num_clips=2), "'mine'", words)


# ------------------------------------------------------------------------------------------- tasks
MANIFEST = Manifest(
    name="mine", split="train", kind="video", ids=["a", "b", "c"], media=["a.mp4"] * 3,
    labels=np.array([0, 1, 1]), classes=["sit", "stand"],
)  # fmt: skip
PLAN = ClipPlan.parse("8x1x1@1")
TASK = Task(
    name="mine", title="Mine", fit=MANIFEST, score=replace(MANIFEST, split="val"), fit_plan=PLAN,
    score_plan=PLAN,
)  # fmt: skip


@pytest.fixture
def require_task(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Check a task as if the function that built it were the user's own."""
    monkeypatch.setattr(registry, "is_ours", lambda module: False)
    return partial(task_contract.require_task, "folder")


def test_a_sound_task_passes(require_task: Any) -> None:
    require_task(TASK)
    require_task(replace(TASK, score=replace(MANIFEST, classes=tuple(MANIFEST.classes))))
    several = np.array([[0, 1], [0, 0], [1, 1]])
    both = replace(MANIFEST, labels=several)
    require_task(replace(TASK, fit=both, score=both))


@pytest.mark.parametrize("member", task_contract.TASK)
def test_each_member_of_a_task_is_named(member: str, require_task: Any) -> None:
    task = replace(TASK, **{member: None})
    refused(lambda: require_task(task), "task 'folder'", f"Task.{member} is None")


@pytest.mark.parametrize("member", task_contract.MANIFEST)
def test_each_member_of_a_split_is_named(member: str, require_task: Any) -> None:
    task = replace(TASK, score=replace(MANIFEST, **{member: None}))
    refused(lambda: require_task(task), "'folder', score", f"Manifest.{member} is None")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"media": ["a.mp4"]}, "Manifest.media should hold a file for each of the 3 ids"),
        ({"labels": np.array([0, 1])}, "Manifest.labels should hold a row for each of the 3 ids"),
        ({"labels": np.array([0, 1, 2])}, "Manifest.labels should hold numbers from 0 to 1"),
        ({"labels": np.array([0, 1, -1])}, "Manifest.labels should hold numbers from 0 to 1"),
        ({"labels": np.ones((3, 4), np.int64)}, "should hold 2 columns, one per class"),
        ({"labels": np.array([0, 1, 1], np.float32)}, "it should be int64 [rows]"),
        ({"labels": [0, 1, 1]}, "Manifest.labels is [0, 1, 1]; it should be int64 [rows]"),
    ],
)
def test_columns_of_a_split_that_do_not_fit_together_are_named(
    wrong: Any, words: str, require_task: Any
) -> None:
    task = replace(TASK, fit=replace(MANIFEST, **wrong))
    refused(lambda: require_task(task), "'folder', fit", words)


def test_splits_that_do_not_fit_together_are_named(require_task: Any) -> None:
    other = replace(MANIFEST, classes=["stand", "sit"])
    wanted = "Manifest.classes should be the same in fit and score"
    refused(lambda: require_task(replace(TASK, score=other)), wanted)
    refused(lambda: require_task(None), "task 'folder' is None", "of the class bench.Task")


# ------------------------------------------------------------------------------------------ boards
BOARD = Leaderboard(
    name="mine", title="Mine", columns=[Column(title="a", task="b", probe="c")], write=None
)


@pytest.mark.parametrize("member", [*write_board.BOARD, *write_board.WRITER])
def test_each_member_of_a_board_is_named(member: str) -> None:
    write_board.require_board("mine", BOARD)  # how it is written may be left out
    board = replace(BOARD, **{member: 7})
    refused(lambda: write_board.require_board("mine", board), f"Leaderboard.{member} is 7")
    wanted = "is a dict; it should be of the class bench.Leaderboard"
    refused(lambda: write_board.require_board("mine", {}), wanted)


@pytest.mark.parametrize("name", registry.names("boards"))
def test_boards_of_our_own_pass(name: str) -> None:
    write_board.require_board(name, registry.build("boards", name, {}))


# ------------------------------------------------------------------------------- on a command line
MODULE = '''
from bench import ClipPlan, Encoder, EncoderSpec, Leaderboard, Task, encoder, board, probe
from bench import read_folder, registry, task
import torch
class Half:
    name, reads, settings = "half", "vector", {}
    heads = registry.build("probes", "knn", {"k": (1,)}).heads
    def only(self, index): return self
    def fit(self, source, *, seed, device, progress): return Nothing()
    def restore(self, tensors, facts): return Nothing()
    def read_released(self, path): ...
class Nothing:
    heads, log = Half.heads, {}
    def probabilities(self, x): return torch.full((1, len(x), 3), 1 / 3)
class NoFit:
    name, reads, settings, heads = "nofit", "vector", {}, Half.heads
    def only(self, index): return self
class Plain(torch.nn.Module):
    def forward(self, pixels): return pixels
@probe
def half():
    """A probe that does not keep its state."""
    return Half()
@probe
def nofit():
    """A probe without a fit."""
    return NoFit()
@encoder
def plain():
    """An encoder with other arguments."""
    return Encoder(Plain(), EncoderSpec(name="plain", width=3, depth=1, num_heads=1, num_frames=4,
        image_size=16, patch_size=8, tubelet_size=4, source="none"))
@task
def nothing():
    """A task that returns nothing."""
@board
def torn():
    """A table of something else."""
    return Leaderboard(name="torn", title="Torn", columns=["linear"], write=None)
'''


RUN = ("--data", "videos", "--workers", "0")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            ["run", "-m", "pixel_mean", "-t", "folder", "-p", "half", *RUN],
            "probe 'half', what fit returns: Nothing.state is missing; it should be a method state",
        ),
        (
            ["run", "-m", "pixel_mean", "-t", "folder", "-p", "nofit", *RUN],
            "probe 'nofit': NoFit.fit is missing; it should be a method fit(source, *, seed, dev",
        ),
        (
            ["run", "-m", "plain", "-t", "folder", "-p", "linear", *RUN],
            "encoder 'plain', its network: Plain.forward takes (pixels); it should be a method",
        ),
        (
            ["run", "-m", "pixel_mean", "-t", "nothing", "-p", "linear", *RUN],
            "task 'nothing' is None; it should be of the class bench.Task.",
        ),
        (
            ["check", "nothing"],
            "task 'nothing' is None; it should be of the class bench.Task.",
        ),
        (
            ["board", "torn"],
            "board 'torn': Leaderboard.columns is ['linear']; it should be a sequence of",
        ),
    ],
)
def test_the_command_refuses_each_before_a_video_is_decoded(
    line: str, sentence: str, bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torn_extension.py").write_text(MODULE)
    for place in ("train/a", "train/b", "val/a"):
        (tmp_path / "videos" / place).mkdir(parents=True)
        (tmp_path / "videos" / place / "1.mp4").write_bytes(b"cannot be decoded")
    monkeypatch.chdir(tmp_path)
    # What it registers is of this test alone.
    held = {kind: dict(entries) for kind, entries in registry._ENTRIES.items()}
    monkeypatch.setattr(registry, "_ENTRIES", held)
    monkeypatch.delitem(sys.modules, "torn_extension", raising=False)
    code, out, error = bench("--with", "torn_extension", *line)
    assert (code, out) == (2, ""), error
    assert error.startswith(f"bench: {sentence}") and error.count("\n") == 1
    assert not (tmp_path / "home").exists()
