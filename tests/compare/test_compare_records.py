"""`bench compare`: records and encoders on the same rows, and what is refused."""

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest

from bench.cli.main import main
from bench.compare.compare_records import (
    compare_encoders,
    compare_records,
    records_of_encoder,
    verdict,
)
from bench.compare.paired_rows import StoredRecord
from bench.errors import DataError, UsageError
from bench.metrics.paired import compare_means, compare_rows, holm
from bench.records.record_files import read_records
from tests.kept_records import kept_boxes, kept_clips
from tests.records.test_score_intervals import case

RNG = np.random.default_rng(0)
GOOD, BAD = RNG.random(200) < 0.7, RNG.random(200) < 0.45


def placed(folder: Path, right: np.ndarray, **changes: Any) -> StoredRecord:
    return StoredRecord(record=kept_clips(folder, right, **changes), folder=folder)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two encoders on two tasks, one of them in three draws."""
    folder = tmp_path / "records"
    rng = np.random.default_rng(1)
    for encoder, share in (("good", 0.75), ("bad", 0.6)):
        kept_clips(folder, rng.random(300) < share, encoder=encoder, task="how")
        for draw in range(3):
            right = rng.random(250) < share
            kept_clips(folder, right, encoder=encoder, fraction=0.1, draw=draw, task="what")
    kept_clips(folder, rng.random(50) < 0.5, encoder="good", task="alone")
    return tmp_path


def test_two_records_are_compared_row_by_row(tmp_path: Path) -> None:
    a, b = placed(tmp_path, GOOD, encoder="good"), placed(tmp_path, BAD, encoder="bad")
    found = compare_records(a, b)
    assert found.paired == compare_rows(GOOD, BAD)
    assert (found.value_a, found.value_b) == (GOOD.mean(), BAD.mean())
    assert found.holm == found.paired.p and found.unit == "rows"
    assert (found.differing, found.remarks, found.spread) == ((), (), None)
    back = compare_records(b, a)
    assert back.paired.difference == -found.paired.difference and back.paired.p == found.paired.p
    assert (
        verdict(found, "good", "bad")
        == f"good is better than bad, by {100 * (GOOD.mean() - BAD.mean()):.1f} points."
    )
    assert verdict(back, "bad", "good") == verdict(found, "good", "bad")


def test_top_five_is_compared_when_asked_for(tmp_path: Path) -> None:
    second = GOOD ^ (np.arange(200) % 3 == 0)
    a = placed(tmp_path, GOOD, second=second, encoder="good")
    b = placed(tmp_path, BAD, encoder="bad")
    found = compare_records(a, b, metric="top5")
    assert found.paired == compare_rows(GOOD | second, BAD) and found.measurement[1] == "top5"
    with pytest.raises(UsageError, match="has no mean_ap; leave out --metric"):
        compare_records(a, b, metric="mean_ap")


def test_records_of_other_tasks_and_metrics_are_refused(tmp_path: Path) -> None:
    a = placed(tmp_path, GOOD, task="how")
    with pytest.raises(UsageError, match=r"has task 'how', .* has 'what'.* same"):
        compare_records(a, placed(tmp_path, GOOD, task="what"))
    boxes = StoredRecord(record=kept_boxes(tmp_path, *case(1), task="how"), folder=tmp_path)
    with pytest.raises(UsageError, match=r"has metric 'top1', .* has 'mean_ap'"):
        compare_records(a, boxes)


def test_what_was_not_the_same_is_named(tmp_path: Path) -> None:
    a = placed(tmp_path, GOOD, encoder="good", seed=1)
    b = placed(tmp_path, BAD, encoder="bad", protocol="vjepa@1", plan="16x8x3@4", probe="linear")
    names = [line.split(":")[0] for line in compare_records(a, b).differing]
    assert names == ["protocol", "probe", "clips to score", "seed"]
    c = placed(tmp_path, BAD, encoder="bad", fraction=0.05, deviations=("20 epochs",), draw=2)
    lines = compare_records(a, c).differing
    assert [line.split(":")[0] for line in lines] == [
        "departures from the protocol",
        "labels to fit",
        "seed",
        "draw of the labels",
    ]
    assert "labels to fit: 100 % / 5 %" in lines and "draw of the labels: 0 / 2" in lines


def test_a_record_that_is_not_complete_is_said_to_be_so(tmp_path: Path) -> None:
    a = placed(tmp_path, GOOD, encoder="a", status="suspect", reasons=("too good",))
    found = compare_records(a, placed(tmp_path, BAD, encoder="b"))
    assert found.remarks == (f"record {a.record.id} is suspect: too good",)


# --------------------------------------------------------------------------------------- other rows
def test_of_different_manifests_the_common_rows_are_compared_by_id(tmp_path: Path) -> None:
    ids = [f"clip {i}" for i in range(200)]
    a = placed(tmp_path, GOOD, ids=ids, encoder="a")
    order = np.random.default_rng(2).permutation(200)[:150]
    labels = np.arange(200) % 10
    b = placed(
        tmp_path,
        BAD[order],
        ids=[ids[i] for i in order],
        labels=labels[order],
        encoder="b",
    )
    found = compare_records(a, b)
    common = np.sort(order)
    assert found.paired == compare_rows(GOOD[common], BAD[common])
    assert found.value_a == GOOD[common].mean() != GOOD.mean()
    assert found.remarks[0] == (
        "compared on the 150 rows that both manifests have (200 and 150 rows)"
    )
    assert any(line.startswith("scored rows: 200 ") for line in found.differing)
    with pytest.raises(DataError, match=r"not scored on the same rows \(200 rows, .* 150 rows"):
        compare_records(a, b, strict=True)


def test_rows_without_likeness_or_with_other_labels_are_refused(tmp_path: Path) -> None:
    ids = [f"clip {i}" for i in range(10)]
    a = placed(tmp_path, GOOD[:10], ids=ids, encoder="a")
    with pytest.raises(DataError, match="no row in common"):
        compare_records(a, placed(tmp_path, GOOD[:10], encoder="b"))
    labels = np.arange(10)
    labels[[3, 7]] = 0
    with pytest.raises(DataError, match=r"2 of 10 common rows have different labels .* 'clip 3'"):
        compare_records(a, placed(tmp_path, GOOD[:10], ids=ids, labels=labels, encoder="b"))


def test_rows_that_one_run_skipped_are_left_out_of_both(tmp_path: Path) -> None:
    a = placed(tmp_path, GOOD, encoder="a", unread=[0, 5], on_unreadable="skip")
    b = placed(tmp_path, BAD, encoder="b", unread=[5, 6])
    found = compare_records(a, b)
    kept = np.setdiff1d(np.arange(200), [0, 5])
    read = BAD.copy()
    read[[5, 6]] = False
    assert found.paired == compare_rows(GOOD[kept], read[kept])
    assert found.remarks == ("2 rows that some record skips are left out",)
    assert any(line == "unreadable rows: left out / wrong" for line in found.differing)


# ----------------------------------------------------------------------------------------- encoders
def test_encoders_are_compared_on_all_that_both_have_with_holm(home: Path) -> None:
    folder = home / "records"
    found, alone = compare_encoders("good", "bad", read_records(folder), folder)
    assert [one.measurement[0] for one in found] == ["how", "what"]
    assert [one.holm for one in found] == holm([one.paired.p for one in found]).tolist()
    assert found[0].holm > found[0].paired.p
    assert alone == ["alone top1, attentive, honest@1, 100 %: only good"]


def test_draws_are_paired_one_by_one_and_their_spread_stands_apart(home: Path) -> None:
    folder = home / "records"
    [_, found], _ = compare_encoders("good", "bad", read_records(folder), folder)
    draws = [(a.train_labels.draw, b.train_labels.draw) for a, b in found.pairs]
    assert draws == [(0, 0), (1, 1), (2, 2)]
    values = [[record.headline for record in side] for side in zip(*found.pairs, strict=True)]
    gaps = [a - b for a, b in zip(*values, strict=True)]
    assert found.spread_a.mean == pytest.approx(fmean(values[0])) == found.value_a
    assert found.spread_b.std == pytest.approx(stdev(values[1]))
    assert found.spread.mean == pytest.approx(fmean(gaps)) == found.paired.difference
    assert (found.spread.std, found.spread.count) == (pytest.approx(stdev(gaps)), 3)
    rng = np.random.default_rng(1)
    right = {}
    for name, share in (("good", 0.75), ("bad", 0.6)):
        rng.random(300)
        right[name] = np.stack([rng.random(250) < share for _ in range(3)])
    expected = (right["good"].sum(axis=0) - right["bad"].sum(axis=0)) / 3
    assert found.paired == compare_means(expected)


def test_without_a_draw_in_common_the_newest_are_paired_and_the_draws_named(tmp_path: Path) -> None:
    for draw, created in ((0, "2025-03-01T12:00:00Z"), (1, "2025-04-01T12:00:00Z")):
        kept_clips(tmp_path, GOOD, encoder="a", draw=draw, created=created, fraction=0.5)
    kept_clips(tmp_path, BAD, encoder="b", draw=2, fraction=0.5)
    [found], _ = compare_encoders("a", "b", read_records(tmp_path), tmp_path)
    [(a, b)] = found.pairs
    assert (a.train_labels.draw, b.train_labels.draw) == (1, 2)
    assert found.differing == ("draw of the labels: 1 / 2",)


def test_records_of_like_inputs_are_paired_before_newer_ones(tmp_path: Path) -> None:
    kept_clips(tmp_path, GOOD, encoder="a")
    kept_clips(tmp_path, GOOD, encoder="a", plan="64x1x1@1", created="2025-05-01T12:00:00Z", seed=3)
    kept_clips(tmp_path, BAD, encoder="b")
    kept_clips(tmp_path, BAD, encoder="b", plan="8x1x1@1", created="2025-05-01T12:00:00Z", seed=3)
    [found], _ = compare_encoders("a", "b", read_records(tmp_path), tmp_path)
    assert found.differing == () and len(found.pairs) == 1


def test_a_name_of_several_networks_is_refused_with_names_that_work(tmp_path: Path) -> None:
    for weights in ("ema", "raw"):
        kept_clips(tmp_path, GOOD, encoder="a", weights=weights)
    records = read_records(tmp_path)
    with pytest.raises(UsageError, match=r"'a' matches 2 networks: (.*); (.*). Use one") as error:
        records_of_encoder("a", records)
    name = str(error.value).split(": ")[1].split(";")[0]
    [one] = records_of_encoder(name, records)
    assert records_of_encoder(one.encoder.spec, records) == [one]
    with pytest.raises(UsageError, match=r"'c'.* a:ema, a:raw"):
        records_of_encoder("c", records)


def test_encoders_without_a_measurement_in_common_are_refused(tmp_path: Path) -> None:
    kept_clips(tmp_path, GOOD, encoder="a", task="how")
    kept_clips(tmp_path, GOOD, encoder="b", task="what")
    kept_clips(tmp_path, GOOD, encoder="b", task="how", status="not_reportable", reasons=("x",))
    with pytest.raises(UsageError, match=r"no measurement in common: how top1.* what top1"):
        compare_encoders("a", "b", read_records(tmp_path), tmp_path)
    with pytest.raises(UsageError, match=r"'c'.*left out without --all: 1"):
        compare_encoders("c", "b", read_records(tmp_path), tmp_path)
    [one], alone = compare_encoders(
        "a", "b", read_records(tmp_path), tmp_path, include_unreportable=True
    )
    assert one.paired.difference == 0 and len(alone) == 1


# -------------------------------------------------------------------------------------------- boxes
def test_boxes_are_compared_over_videos(tmp_path: Path) -> None:
    sides = [
        StoredRecord(record=kept_boxes(tmp_path, *case(skill), encoder=name), folder=tmp_path)
        for name, skill in (("a", 2), ("b", 0))
    ]
    found = compare_records(*sides, cache=tmp_path / "cache")
    assert found.unit == "videos" and found.paired.n == 3
    assert found.paired.difference == found.value_a - found.value_b
    assert found.value_a == sides[0].record.headline
    equal = compare_records(sides[0], sides[0])
    assert verdict(equal, "a", "a") == "The two are equal on all 3 videos."
    few = StoredRecord(record=kept_boxes(tmp_path, *case(1, videos=(0, 1))), folder=tmp_path)
    with pytest.raises(DataError, match="different videos"):
        compare_records(sides[0], few)
    one = StoredRecord(record=kept_boxes(tmp_path, *case(1, videos=(1,))), folder=tmp_path)
    with pytest.raises(DataError, match="too few videos"):
        compare_records(one, one)


# ------------------------------------------------------------------------------------- command line
def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["compare", *map(str, words)])
    captured = capsys.readouterr()
    return stopped.value.code or 0, captured.out, captured.err


def test_the_command_prints_numbers_verdicts_and_spreads(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "good", "bad", "--home", home)
    assert code == 0
    rows = [line.split() for line in out.splitlines() if " rows " in line]
    assert len(rows) == 2 and "300" in rows[0] and "250" in rows[1]
    assert "A: good" in out and "over 3 seeds or draws" in out
    assert "good is better than bad" in out
    assert "not compared: alone" in err and "not compared" not in out


def test_the_command_gives_json_and_takes_ids_and_files(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "good", "bad", "--home", home, "--json")
    facts = json.loads(out)
    assert code == 0 and facts["alone"] and len(facts["comparisons"]) == 2
    how = facts["comparisons"][0]
    [[a, b]] = how["records"]
    code, out, _ = run(capsys, home / "records" / f"{a}.json", b, "--home", home, "--json")
    [single] = json.loads(out)["comparisons"]
    assert code == 0 and single["p"] == single["holm_p"] == how["p"] < how["holm_p"]
    keys = ("value_a", "only_a", "difference", "low", "minimum_detectable_difference")
    assert [single[key] for key in keys] == [how[key] for key in keys]


def test_the_command_refuses_a_record_and_an_encoder(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next((home / "records").glob("*.json")).stem
    code, _, err = run(capsys, name, "bad", "--home", home)
    assert code == 2 and "a record and an encoder" in err
    code, _, err = run(capsys, "0" * 16, name, "--home", home)
    assert code == 2 and "there is no record 0000" in err
