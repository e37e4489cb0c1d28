"""The registry: extensions from a module, refusals with the closest match, a sweep over all."""

import inspect
import json
import typing
from dataclasses import dataclass, field
from pathlib import Path
from types import GenericAlias, UnionType

import pytest

from bench import registry
from bench.errors import UsageError
from tests.commands import Bench, Records

MODULE = '''
"""An encoder, a task and a probe from outside, ten lines each."""
from pathlib import Path
import torch
from bench import ClipPlan, Encoder, EncoderSpec, Task, Tokens, encoder, read_folder, task


class MeanColour(torch.nn.Module):
    def forward(self, pixels, *, keep=None, layers=None):
        return Tokens(layers=(pixels.mean((2, 3, 4)).unsqueeze(1),), grid=(1, 1, 1))


@encoder
def mean_colour(*, image_size: int = 16):
    """The mean colour of a clip."""
    spec = EncoderSpec(name="mean_colour", width=3, depth=1, num_heads=1, num_frames=4,
                       image_size=image_size, patch_size=image_size, tubelet_size=4,
                       source="none", is_floor=True)
    return Encoder(MeanColour(), spec)


@task
def my_videos(*, data: Path):
    """Videos of mine."""
    plan = ClipPlan.parse("4x1x1@1")
    splits = {s: read_folder(data / s, name="my_videos", split=s) for s in ("train", "val")}
    return Task(name="my_videos", title="Mine", fit=splits["train"], score=splits["val"],
                fit_plan=plan, score_plan=plan)
'''


def test_module_given_with_with_adds_an_encoder_and_a_task(
    bench: Bench, video_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_bench_extension.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    code, out, err = bench(
        "--with", "my_bench_extension", "run", "-m", "mean_colour", "-t", "my_videos",
        "-p", "knn", "--set", "probe.k=1", "--data", video_set, "--workers", "0", "--json",
    )  # fmt: skip
    assert code in (0, 3), err
    assert json.loads(out)["encoder"]["name"] == "mean_colour"


def test_missing_extension_is_named(bench: Bench) -> None:
    code, _, err = bench("--with", "no_such_module", "ls", "tasks")
    assert code == 2 and "no_such_module" in err


@pytest.mark.parametrize("kind", registry.KINDS)
def test_everything_registered_is_described_and_keyword_only(bench: Bench, kind: str) -> None:
    assert registry.entries(kind)
    for entry in registry.entries(kind):
        assert entry.summary.endswith("."), entry.name
        for parameter in entry.options.values():
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
            assert parameter.annotation is not inspect.Parameter.empty
        code, out, _ = bench("show", entry.name, "--json")
        assert code == 0 and any(fact["name"] == entry.name for fact in json.loads(out))


def test_list_names_what_is_registered(bench: Bench) -> None:
    code, out, _ = bench("ls", "probes", "--json")
    assert code == 0 and {"attentive", "linear", "logistic", "knn"} <= set(json.loads(out))


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("3", int, 3),
        ("1e-3", float, 1e-3),
        ("[10, 20]", tuple[int, ...], (10, 20)),
        ("7", tuple[int, ...], (7,)),
        (5, tuple[int, ...], (5,)),
        ("none", float | None, None),
        ("0.5", float | None, 0.5),
        ("False", bool, False),
    ],
)
def test_text_becomes_the_annotated_type(
    text: int | str, hint: GenericAlias | UnionType | type, value: float | tuple[int, ...] | None
) -> None:
    assert registry.convert(text, hint, "option") == value


@pytest.mark.parametrize(
    ("text", "hint"), [("3.5", int), ("x", float), ("maybe", bool), (True, int)]
)
def test_text_of_another_type_is_refused(text: bool | str, hint: type) -> None:
    with pytest.raises(UsageError, match="option"):
        registry.convert(text, hint, "option")


def test_positional_options_cannot_be_registered() -> None:
    def positional(folder: Path) -> None:
        """A task."""

    with pytest.raises(ValueError, match="keyword-only"):
        registry.task(positional)


def test_doctor_says_what_is_here(bench: Bench, tmp_path: Path) -> None:
    code, out, _ = bench("doctor", "--home", tmp_path, "--json")
    names = {finding["name"]: finding for finding in json.loads(out)}
    assert code == 0 and names["torch"]["ok"] and names["codecs"]["ok"]


def test_check_counts_files_and_ends_in_4_when_one_is_broken(
    bench: Bench, video_set: Path, tmp_path: Path
) -> None:
    import shutil

    assert bench("check", "folder", "--data", video_set)[0] == 0
    root = tmp_path / "set"
    shutil.copytree(video_set, root)
    (root / "val/sit/0.mp4").write_bytes(b"")
    code, out, _ = bench("check", "folder", "--data", root, "--json")
    assert code == 4 and json.loads(out)["val"]["empty"] == ["sit/0.mp4"]


def test_board_joins_the_records(
    bench: Bench, records: Records, video_set: Path, tmp_path: Path
) -> None:
    records("-m", "random:vit_digits", "-t", "folder", "--data", video_set, "-p", "knn,linear",
            "--set", "probe.knn.k=1", "--workers", "0")  # fmt: skip
    code, out, err = bench("board", "runs", "--all", "--out", tmp_path / "tables")
    assert code == 0, err
    assert "random:vit_digits" in out and "chance" in out
    made = {path.suffix for path in (tmp_path / "tables").iterdir()}
    assert made == {".md", ".csv", ".tex", ".json", ".html"}


@dataclass(frozen=True, kw_only=True)
class Inner:
    bins: int = 3


@dataclass(frozen=True, kw_only=True)
class Outer:
    rate: float = 0.5
    inner: Inner = field(default_factory=Inner)
    name: str | None = None


def test_options_that_functions_share_are_taken_one_by_one_in_their_place() -> None:
    @registry.grouped
    def build(*, first: int, outer: Outer, last: str = "z") -> tuple[object, ...]:
        """Build it."""
        return first, outer, last

    assert str(inspect.signature(build)) == (
        "(*, first: int, rate: float = 0.5, bins: int = 3, name: str | None = None,"
        " last: str = 'z')"
    )
    assert (build.__name__, build.__doc__) == ("build", "Build it.")
    assert list(typing.get_type_hints(build)) == ["first", "rate", "bins", "name", "last", "return"]
    assert build(first=1) == (1, Outer(), "z")
    given = build(first=1, bins=7, name="n", last="y")
    assert given == (1, Outer(inner=Inner(bins=7), name="n"), "y")
    with pytest.raises(TypeError, match="unknown"):
        build(first=1, unknown=2)


def test_options_of_its_own_go_before_the_shared_ones() -> None:
    def own(*, split: int = 1) -> None:
        """Its own words."""

    def build(*, outer: Outer, **options: object) -> tuple[object, ...]:
        return outer, options

    made = registry.grouped(build, own)
    assert list(inspect.signature(made).parameters) == ["split", "rate", "bins", "name"]
    assert (made.__name__, made.__doc__) == ("own", "Its own words.")
    assert made(split=2, rate=0.25) == (Outer(rate=0.25), {"split": 2})
