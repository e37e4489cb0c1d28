"""Two records explained: inputs that decide, inputs that round, and those that cannot matter."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bench.compare.explain import explain
from bench.records.differences import ABSENT, Difference, differences
from bench.records.record import Record
from bench.records.record_files import read_record
from tests.commands import Bench
from tests.forgery import clip_config, run, write_clips
from tests.sound_record import sound_fields


def record(**changes: Any) -> Record:
    return Record.model_validate(sound_fields(**changes))


def names(found: Sequence[Any]) -> list[str]:
    return [one.field for one in found]


def test_equal_records_have_nothing_to_explain() -> None:
    found = explain(record(), record())
    assert found.decide == found.rounding == found.harmless == found.features == ()


def test_every_differing_input_is_in_its_group() -> None:
    fields = sound_fields()
    fields["created"] = "2030-01-01T00:00:00Z"
    fields["timing"]["fit_seconds"] = 99.0
    fields["environment"]["torch"] = "9.9"
    fields["features"].update(precision="bf16", decoded=1)
    fields["encoder"].update(source="/elsewhere/latest.pt", weights_sha256="0" * 64)
    fields["data"]["score"]["layout"] = "as a tar"
    fields["plan"]["score"] = "16x8x3@4"
    fields["metrics"]["majority"] = 0.2
    found = explain(record(), Record.model_validate(fields))
    assert names(found.decide) == ["encoder.weights_sha256", "plan.score"]
    assert names(found.rounding) == ["features.precision", "environment.torch"]
    assert names(found.harmless) == [
        "created", "encoder.source", "data.score.layout", "features.decoded", "timing.fit_seconds",
    ]  # fmt: skip


def test_the_name_of_an_encoder_decides_and_where_its_weights_lie_does_not() -> None:
    a, b = record(weights="here"), record(weights="there")
    found = explain(a, b)
    assert "config.encoder (weights)" in names(found.harmless)
    assert "config.encoder" not in names(found.decide)
    assert "encoder.weights_sha256" in names(found.decide)
    other = explain(a, record(encoder="vit_tiny", weights="here"))
    assert "config.encoder" in names(other.decide)


def test_no_field_of_a_record_falls_through() -> None:
    """Every leaf that is no outcome is in one group when it changes."""
    whole = record().model_dump(mode="json")
    from bench.compare.explain import HARMLESS, OUTCOMES, ROUNDING

    for field in (*OUTCOMES, *HARMLESS, *ROUNDING):
        place = whole
        for name in field.split("."):
            known = name in place or field.startswith(("config.", "data.fit"))
            assert known, f"{field} is no field of a record"
            place = place.get(name, {})


def test_differences_name_the_leaf_and_what_is_not_there() -> None:
    assert differences({"a": {"b": 1, "c": [1]}}, {"a": {"b": 2, "c": [1]}, "d": None}) == [
        Difference(field="a.b", a=1, b=2),
        Difference(field="d", a=ABSENT, b=None),
    ]
    assert differences({"a": 1}, {"a": True}) == [Difference(field="a", a=1, b=True)]
    assert differences({"a": 1.0}, {"a": 1}) == [Difference(field="a", a=1.0, b=1)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    root = tmp_path_factory.mktemp("explain")
    write_clips(root)
    home = root / "home"
    return home, run(clip_config(root), home), run(clip_config(root, plan="8x2x1@2"), home)


def test_the_facts_behind_feature_keys_are_told_where_the_stores_are(
    two: tuple[Path, Path, Path], bench: Bench, tmp_path: Path
) -> None:
    home, a, b = two
    code, out, err = bench("explain", a.stem, b.stem, "--home", home, "--json")
    assert code == 0, err
    said = json.loads(out)
    assert [one["field"] for one in said["decide"]][:1] == ["config.plan"]
    facts = {one["field"] for one in said["features"]}
    assert {"fit features: recipe.clips", "scored features: recipe.sampling"} <= facts
    assert said["unknown"] == []
    assert said["numbers"] == {
        "a": json.loads(a.read_text())["metrics"]["top1"],
        "b": json.loads(b.read_text())["metrics"]["top1"],
    }
    gap = said["numbers"]["a"] - said["numbers"]["b"]
    assert said["paired"]["difference"] == pytest.approx(gap) and said["paired"]["n"] == 18
    code, out, _ = bench("explain", a, b, "--home", tmp_path / "other")
    assert code == 0 and "scored features: unknown, because the feature store is not in HOME" in out
    assert "decides the number" in out and "A - B" in out and "over 18 rows in both" in out


def test_numbers_that_do_not_compare_are_explained_all_the_same(
    two: tuple[Path, Path, Path], bench: Bench, tmp_path: Path
) -> None:
    home, a, _ = two
    other = record(task="k400")
    (tmp_path / f"{other.id}.json").write_text(other.to_json())
    code, out, _ = bench("explain", a, tmp_path / f"{other.id}.json", "--home", home)
    assert code == 0 and "not compared: record" in out and "task.name" in out


@pytest.mark.parametrize(
    ("setting", "fact"),
    [
        pytest.param(
            {"decoder": "decord"},
            "scored features: recipe.decoder.name",
            marks=pytest.mark.skipif(find_spec("decord") is None, reason="decord is not installed"),
        ),
        ({"precision": "bf16"}, "scored features: precision"),
        ({"dtype": "float32"}, "scored features: dtype"),
    ],
)
def test_what_may_move_a_number_by_rounding_alone_decides_nothing(
    two: tuple[Path, Path, Path], setting: dict[str, str], fact: str
) -> None:
    home, a, _ = two
    b = run(clip_config(home.parent, **setting), home)
    found = explain(read_record(a), read_record(b), home)
    assert found.decide == found.features == found.unknown == ()
    assert {fact, "features.score_key"} <= set(names(found.rounding))
    assert names(explain(read_record(a), read_record(b)).decide) == [  # nothing tells what moved it
        "features.fit_key", "features.score_key",
    ]  # fmt: skip


def test_to_keep_labels_that_look_permuted_moves_no_number(two: tuple[Path, Path, Path]) -> None:
    home, a, _ = two
    b = run(clip_config(home.parent, on_permuted_labels="keep"), home)
    found = explain(read_record(a), read_record(b), home)
    assert not found.decide and "config.on_permuted_labels" in names(found.harmless)
