"""What verification says of sound records, of numbers nobody should believe, and of folders."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.files import file_sha256
from bench.publish.results_repository import verify_paths
from bench.records.record import seal_of
from bench.records.record_files import read_record
from bench.verify import verify_records as verifying
from bench.verify.controls import may_concern
from bench.verify.findings import Verdict
from bench.verify.own_words import open_record
from bench.verify.verify_records import verify, verify_all, verify_folder
from leaderboards.rows.notes import own_notes
from leaderboards.rows.provenance import facts_of
from tests.commands import Bench
from tests.kept_records import kept_predictions
from tests.sound_record import box_record, digest, sound_record

RECORDS = Path(__file__).parents[1] / "fixtures" / "records"
CLASSES, ROWS = 6, 120


def made(
    folder: Path,
    probabilities: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    lost: int = 0,
    on_unreadable: str = "wrong",
    **facts: Any,
) -> Path:
    """Write a record of `honest@1` with these probabilities `[rows, C]` and return its file."""
    record = kept_predictions(
        folder,
        np.arange(len(probabilities)) % CLASSES if labels is None else labels,
        probabilities,
        classes=[f"c{i}" for i in range(CLASSES)],
        unread=range(lost),
        on_unreadable=on_unreadable,
        verifiable=True,
        probe="linear",
        **facts,
    )
    return folder / f"{record.id}.json"


def model(share: float, seed: int = 0, rows: int = ROWS) -> np.ndarray:
    """Return float32 `[rows, C]` of a model that is right in a share of its rows, else guesses."""
    rng = np.random.default_rng(seed)
    scores = rng.random((rows, CLASSES))
    known = rng.random(rows) < share
    scores[np.flatnonzero(known), np.flatnonzero(known) % CLASSES] += 1
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def outcome(verdict: Verdict, check: str) -> tuple[str, str]:
    [one] = [finding for finding in verdict.findings if finding.check == check]
    return one.outcome, one.sentence


FLOOR = {"encoder": "random", "weights": "vit_tiny", "is_floor": True}


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_records_of_every_schema_are_verified_as_far_as_they_go(version: int) -> None:
    paths = sorted((RECORDS / str(version)).glob("*.json"))
    assert paths
    for verdict in verify_all(paths):
        assert json.loads(verdict.path.read_text())["schema_version"] == version
        silent = {finding.check for finding in verdict.having("unchecked")}
        assert not verdict.having("failed") and not verdict.having("suspect"), verdict.findings
        assert (silent == set()) if version == 4 else (silent >= {"seal", "belongs"})
        assert outcome(verdict, "metrics")[0] == outcome(verdict, "rows")[0] == "ok"


def test_unchecked_is_suspect_where_it_is_strict() -> None:
    [path] = (RECORDS / "2").glob("*.json")
    assert verify(path).status == "unchecked"
    strict = verify(path, strict=True)
    assert strict.status == "suspect"
    assert outcome(strict, "seal")[1].startswith("not checked: records of schema 2 have no seal")


def test_class_names_kept_with_the_probe_let_an_older_manifest_be_checked(tmp_path: Path) -> None:
    path = made(tmp_path, model(0.5))
    names = [f"c{i}" for i in range(CLASSES)]
    assert outcome(verify(path), "manifest")[0] == "ok"
    (tmp_path / f"{path.stem}-probe").mkdir()
    probe = tmp_path / f"{path.stem}-probe" / "probe.json"
    probe.write_text(json.dumps({"facts": {"classes": names}}))
    fields = json.loads(path.read_text())
    parquet = path.with_suffix(".parquet")
    pq.write_table(pq.read_table(parquet).replace_schema_metadata(None), parquet)
    fields["artifacts"]["predictions"]["sha256"] = file_sha256(parquet)
    fields["artifacts"]["probe"] = {
        "path": f"{path.stem}-probe/probe.json", "sha256": file_sha256(probe)
    }  # fmt: skip
    fields["schema_version"] = 3
    del fields["seal"], fields["probe"]["selection"]["score_split_fit"]
    path.write_text(json.dumps(fields))
    assert outcome(verify(path), "manifest")[0] == "ok"
    probe.write_text(json.dumps({"facts": {"classes": names[::-1]}}))
    assert outcome(verify(path), "manifest")[0] == "unchecked"  # the probe is another one


def test_a_top_5_of_classes_without_votes_is_left_out_and_marked(tmp_path: Path) -> None:
    one_hot = np.eye(CLASSES, dtype=np.float32)[np.arange(ROWS) // CLASSES % CLASSES]
    record = kept_predictions(
        tmp_path, np.arange(ROWS) % CLASSES, one_hot, classes=[f"c{i}" for i in range(CLASSES)],
        verifiable=True, probe="knn",
    )  # fmt: skip
    assert record.value("top5") == record.headline
    path = tmp_path / f"{record.id}.json"
    fields = json.loads(path.read_text())
    fields["schema_version"] = 4
    fields["metrics"]["top5"] = 0.85  # by class order, as it was once counted
    del fields["marks"], fields["data"]["fit"]["notes"], fields["data"]["score"]["notes"]
    fields["seal"] = seal_of(fields)
    path.write_text(json.dumps(fields))
    old = read_record(path)
    assert old.value("top5") is None and old.headline == record.headline
    assert "0.85, may count classes without a vote" in old.marks[0]
    assert old.marks[0] in own_notes(old) and old.marks[0] in facts_of(old)["Record"]
    verdict = verify(path)
    assert outcome(verdict, "marks") == ("unchecked", old.marks[0])
    assert outcome(verdict, "seal")[0] == outcome(verdict, "metrics")[0] == "ok"
    fields["probe"]["name"] = "linear"
    fields["seal"] = seal_of(fields)
    path.write_text(json.dumps(fields))
    assert read_record(path).value("top5") == 0.85


def test_a_constant_prediction_is_suspect(tmp_path: Path) -> None:
    one = np.tile(np.array([0.5, 0.1, 0.1, 0.1, 0.1, 0.1], dtype=np.float32), (ROWS, 1))
    verdict = verify(made(tmp_path, one))
    assert outcome(verdict, "constant") == ("suspect", "every row is predicted as class 0")
    assert outcome(verify(made(tmp_path, model(0.5))), "constant")[0] == "ok"


def test_a_number_at_chance_is_suspect_unless_it_is_a_floor(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    guess = rng.dirichlet(np.ones(CLASSES), ROWS).astype(np.float32)
    verdict = verify(made(tmp_path, guess))
    right = read_record(verdict.path).metrics.correct
    said, words = outcome(verdict, "chance")
    assert said == "suspect" and words.startswith(f"{right} of 120 right")
    assert outcome(verify(made(tmp_path, guess, **FLOOR)), "chance")[0] == "ok"


def test_lost_rows_count_against_chance_where_they_are_wrong(tmp_path: Path) -> None:
    verdict = verify(made(tmp_path, model(0.5), lost=20))
    assert verdict.having("failed") == [] and outcome(verdict, "rows")[0] == "ok"


def test_lost_rows_are_left_out_of_a_run_that_skips_them_and_none_is_lost_in_one_that_stops(
    tmp_path: Path,
) -> None:
    verdict = verify(made(tmp_path, model(0.5), lost=20, on_unreadable="skip"))
    assert verdict.having("failed") == []
    assert verdict.record.metrics.top1 == verdict.record.metrics.correct / 100
    verdict = verify(made(tmp_path, model(0.5), lost=20, on_unreadable="stop"))
    said, words = outcome(verdict, "rows")
    assert said == "failed" and words.endswith(
        "20 rows are unreadable, but the run stops at unreadable ones"
    )


def test_without_an_untrained_control_the_command_that_makes_one_is_told(tmp_path: Path) -> None:
    path = made(tmp_path, model(0.5), encoder="vit_tiny", weights="a.pt")
    said, words = outcome(verify(path), "control")
    assert said == "unchecked"
    assert words.endswith(f"bench run {path} --encoder random:vit_tiny")


def test_a_model_must_be_better_than_the_untrained_control_on_the_same_rows(tmp_path: Path) -> None:
    floor = made(tmp_path, model(0.3, seed=1), **FLOOR)
    weak = made(tmp_path, model(0.3, seed=2), encoder="vit_tiny", weights="weak.pt")
    good = made(tmp_path, model(0.8, seed=3), encoder="vit_tiny", weights="good.pt")
    others = [read_record(path) for path in (floor, weak, good)]
    said, words = outcome(verify(weak, others=others), "control")
    assert (
        said == "suspect" and words.startswith("not better than untrained") and floor.stem in words
    )
    assert outcome(verify(good, others=others), "control")[0] == "ok"
    assert outcome(verify(floor, others=others), "control")[0] == "ok"


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"fraction": 0.5}, {"task": "other_task"}],
    ids=["seed", "fraction", "task"],
)
def test_a_control_measured_the_same_thing(change: dict[str, float | str], tmp_path: Path) -> None:
    floor = made(tmp_path, model(0.3, seed=1), **FLOOR, **change)
    good = made(tmp_path, model(0.8, seed=3), encoder="vit_tiny", weights="good.pt")
    said, _ = outcome(verify(good, others=[read_record(floor)]), "control")
    assert said == ("ok" if "seed" in change else "unchecked")


def test_raw_pixels_are_no_untrained_control(tmp_path: Path) -> None:
    floor = made(tmp_path, model(0.3), encoder="pixel_mean", weights=None, is_floor=True)
    good = made(tmp_path, model(0.8, seed=3), encoder="vit_tiny", weights="good.pt")
    assert outcome(verify(good, others=[read_record(floor)]), "control")[0] == "unchecked"


def test_the_control_of_the_same_network_is_preferred(tmp_path: Path) -> None:
    made(tmp_path, model(0.2, seed=1), **FLOOR)
    made(tmp_path, model(0.9, seed=2), encoder="random", weights="vit_big", is_floor=True)
    good = made(tmp_path, model(0.6, seed=3), encoder="vit_tiny", weights="good.pt")
    [verdict] = [v for v in verify_folder(tmp_path) if v.path == good]
    assert outcome(verdict, "control")[0] == "ok"


def test_predictions_of_other_weights_are_a_copy_and_those_of_the_same_weights_are_not(
    tmp_path: Path,
) -> None:
    own = model(0.7)
    a = made(tmp_path, own, encoder="a", weights="w")
    b = made(tmp_path, own, encoder="b", weights="w2")
    same = made(tmp_path, own, encoder="a", weights="w", seed=1)
    verdicts = {verdict.path: verdict for verdict in verify_folder(tmp_path)}
    assert outcome(verdicts[a], "copies")[0] == outcome(verdicts[b], "copies")[0] == "suspect"
    assert b.stem in outcome(verdicts[a], "copies")[1]
    others = [read_record(same)]
    assert outcome(verify(a, others=others), "copies")[0] == "ok"


def test_equal_votes_of_few_neighbours_are_no_copy(tmp_path: Path) -> None:
    votes = np.eye(CLASSES, dtype=np.float32)[np.arange(ROWS) % CLASSES]
    made(tmp_path, votes, encoder="a", weights="w")
    made(tmp_path, votes, encoder="b", weights="w2")
    for verdict in verify_folder(tmp_path):
        assert not [finding for finding in verdict.findings if finding.check == "copies"]


def test_records_of_the_same_files_rows_or_control_concern_each_other() -> None:
    a, b = box_record(0.25), box_record(0.5, seed=1)
    assert may_concern(a, b) and not may_concern(a, a)
    files = {"ground_truth": digest("other")}
    assert not may_concern(a, box_record(0.5, files=files, encoder="other"))
    assert not may_concern(sound_record(), sound_record(encoder="other", correct=70))
    assert may_concern(sound_record(), sound_record(seed=1))


def test_permuted_labels_are_suspect(tmp_path: Path) -> None:
    labels = (np.arange(600) + 1) % CLASSES
    verdict = verify(made(tmp_path, model(0.8, rows=600), labels=labels))
    said, words = outcome(verdict, "labels")
    assert said == "suspect" and "6 classes change places" in words


def test_nothing_in_a_file_makes_verification_raise(tmp_path: Path) -> None:
    path = made(tmp_path, model(0.5))
    whole, parquet = path.read_bytes(), path.with_suffix(".parquet")
    for text in (
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema_version": []}',
        b'{"schema_version": 1, "data": {"fit": {"unreadable": {"a": 5}}}}',
        b'{"schema_version": 4, "id": ' + b"9" * 5000 + b"}",
    ):
        path.write_bytes(text)
        assert verify(path).status == "failed"
    path.unlink()
    assert "No such file" in outcome(verify(path), "record")[1]
    path.write_bytes(whole)
    kept = parquet.read_bytes()
    for broken in (b"", b"PAR1", kept[: len(kept) // 2], kept[:-12] + bytes(12)):
        assert outcome(mended(path, whole, broken), "rows")[0] == "failed"
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(kept), 80).tolist():
        mended(path, whole, kept[:place] + bytes([kept[place] ^ 0xFF]) + kept[place + 1 :])


def mended(path: Path, record: dict[str, Any], predictions: Any) -> Verdict:
    """Verify the record with other bytes as its predictions, and their digest on record."""
    parquet = path.with_suffix(".parquet")
    parquet.write_bytes(predictions)
    fields = json.loads(record)
    fields["artifacts"]["predictions"]["sha256"] = file_sha256(parquet)
    fields["seal"] = seal_of(fields)
    path.write_text(json.dumps(fields))
    return verify(path)


# ------------------------------------------------------------------------------------------ folders
def test_verdicts_are_kept_by_the_bytes_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    path = made(folder, model(0.5))
    first = verify_folder(folder, tmp_path / "cache")
    with monkeypatch.context() as patch:  # what is kept is not counted again
        patch.setattr(verifying, "check_clips", None)
        assert verify_folder(folder, tmp_path / "cache") == first
    for file in (path, path.with_suffix(".parquet")):
        whole = file.read_bytes()
        if file == path:
            fields = json.loads(whole)
            fields["metrics"]["majority"] = 0.9
            fields["seal"] = seal_of(fields)
            file.write_text(json.dumps(fields))
        else:
            table = pq.read_table(file)
            pq.write_table(table.slice(0, 100), file)
        changed = verify_folder(folder, tmp_path / "cache")
        assert changed[0].status == "failed" and changed == verify_folder(folder)
        file.write_bytes(whole)
    assert verify_folder(folder, tmp_path / "cache") == first == verify_folder(folder)


def test_a_kept_verdict_does_not_hide_a_new_control(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    good = made(tmp_path, model(0.8, seed=3), encoder="vit_tiny", weights="good.pt")
    assert outcome(verify_folder(tmp_path, cache)[0], "control")[0] == "unchecked"
    made(tmp_path, model(0.3, seed=1), **FLOOR)
    [verdict] = [v for v in verify_folder(tmp_path, cache) if v.path == good]
    assert outcome(verdict, "control")[0] == "ok"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:50],
        lambda text: text.replace('"rows": 120', '"rows": 7'),
        lambda text: '{"findings": [], "counted": {}}',
        lambda text: "",
    ],
)
def test_damaged_cache_is_counted_again(damage: Callable[..., Any], tmp_path: Path) -> None:
    made(tmp_path, model(0.5))
    first = verify_folder(tmp_path, tmp_path / "cache")
    for file in (tmp_path / "cache").rglob("*.json"):
        assert damage(file.read_text()) != file.read_text()
        file.write_text(damage(file.read_text()))
    assert verify_folder(tmp_path, tmp_path / "cache") == first


def test_a_link_to_a_folder_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    made(folder, model(0.8), encoder="vit_tiny", weights="w")
    for name in ("up", "down"):
        (folder / name).symlink_to(tmp_path, target_is_directory=True)
    code, verdicts, _ = told(bench, folder)
    said = [f["sentence"] for v in verdicts for f in v["findings"] if f["check"] == "stray"]
    assert code == 5 and said == [f"{name} belongs to no record in repo" for name in ("down", "up")]


def test_more_rows_than_the_record_lists_are_not_read(tmp_path: Path) -> None:
    path = made(tmp_path, model(0.5))
    parquet = path.with_suffix(".parquet")
    table = pq.read_table(parquet)
    with pq.ParquetWriter(parquet, table.schema) as writer:
        for _ in range(3):
            writer.write_table(table)
    said, words = outcome(mended(path, path.read_bytes(), parquet.read_bytes()), "rows")
    assert said == "failed" and words.endswith("360 rows, but the record lists 120")


def told(bench: Bench, *words: object) -> tuple[int, list[dict[str, Any]], str]:
    code, out, err = bench("verify", *words, "--json")
    return code, [json.loads(line) for line in out.splitlines()], err


def test_command_ends_in_the_code_of_the_worst_record(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    good = folder / "good"
    good.mkdir(parents=True)
    floor = made(good, model(0.2, seed=1), **FLOOR)
    path = made(good, model(0.8), encoder="vit_tiny", weights="good.pt")
    code, verdicts, err = told(bench, folder)
    assert code == 0 and {v["status"] for v in verdicts} == {"ok"}, verdicts
    assert bench("verify", path)[0] == 0  # its control stands in the same folder
    floor.unlink()
    floor.with_suffix(".parquet").unlink()
    code, [verdict], _ = told(bench, folder)
    assert (code, verdict["status"]) == (0, "unchecked")
    assert told(bench, folder, "--strict")[0] == 3
    code, out, err = bench("verify", folder)
    assert "control" in out and "rows" not in out and "1 verified: 1 unchecked" in err
    assert "120 rows, each once" in bench("verify", folder, "-v")[1]
    path.with_suffix(".parquet").unlink()
    code, [verdict], _ = told(bench, folder)
    assert (code, verdict["status"]) == (5, "failed")


def test_command_takes_an_id_and_tells_records_that_are_not_reportable(
    bench: Bench, tmp_path: Path
) -> None:
    folder = tmp_path / "home" / "records"
    folder.mkdir(parents=True)
    path = made(
        folder, model(0.8), encoder="vit_tiny", weights="w", status="not_reportable",
        reasons=("limited to 5 rows per split",),
    )  # fmt: skip
    code, [verdict], _ = told(bench, path.stem, "--home", tmp_path / "home")
    assert (code, verdict["recorded_status"], verdict["status"]) == (
        3,
        "not_reportable",
        "unchecked",
    )
    code, _, err = bench("verify", "nothing", "--home", tmp_path / "home")
    assert code == 2 and "there is no record nothing" in err
    (tmp_path / "empty").mkdir()
    code, _, err = bench("verify", tmp_path / "empty")
    assert code == 2 and "there is no record" in err


def test_command_finds_records_that_stand_twice_and_files_that_belong_to_none(
    bench: Bench, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / "repo" / name).mkdir(parents=True)
    path = made(tmp_path / "repo" / "one", model(0.8), encoder="vit_tiny", weights="w")
    (tmp_path / "repo" / "README.md").write_text("records")
    (tmp_path / "repo" / ".github").mkdir()
    (tmp_path / "repo" / ".github" / "check.json").write_text("{}")
    assert told(bench, tmp_path / "repo")[0] == 0
    for file in (path, path.with_suffix(".parquet")):
        shutil.copy(file, tmp_path / "repo" / "two" / file.name)
    code, verdicts, _ = told(bench, tmp_path / "repo")
    [said] = [f for v in verdicts for f in v["findings"] if f["check"] == "twice"]
    assert code == 5 and said["sentence"].endswith(f"one/{path.name}")
    shutil.rmtree(tmp_path / "repo" / "two")
    stray = tmp_path / "repo" / "one" / f"{digest('x')[:16]}.parquet"
    for file in (stray, tmp_path / "repo" / "one" / "notes.txt"):
        shutil.copy(path.with_suffix(".parquet"), file)
        code, verdicts, _ = told(bench, tmp_path / "repo")
        [said] = [f for v in verdicts for f in v["findings"] if f["check"] == "stray"]
        assert code == 5 and said["sentence"].startswith(file.name)
        file.unlink()


def test_many_rows_are_counted_without_a_loop_over_them(tmp_path: Path) -> None:
    path = made(tmp_path, model(0.5, rows=50_000))
    verdict = verify(path)
    assert verdict.having("failed") == [] and open_record(path).record is not None


@pytest.mark.parametrize("version", [4.0, "4", True, 3.5, 6, None, -1])
def test_an_odd_schema_version_hides_no_broken_seal(
    version: float | str | None, tmp_path: Path
) -> None:
    path = made(tmp_path, model(0.5))
    fields = json.loads(path.read_text())
    fields["schema_version"] = version
    path.write_text(json.dumps(fields))
    assert verify(path).status == "failed"


def test_half_a_character_in_a_file_can_be_told_of(bench: Bench, tmp_path: Path) -> None:
    path = made(tmp_path, model(0.5))
    fields = json.loads(path.read_text())
    fields["artifacts"]["predictions"]["path"] = "\ud800.parquet"
    path.write_text(json.dumps(fields))
    assert bench("verify", path)[0] == 5


def test_a_file_on_the_way_to_bundles_is_told_of(bench: Bench, tmp_path: Path) -> None:
    bundle = tmp_path / "results" / "encoder" / "task" / "new"
    bundle.mkdir(parents=True)
    path = made(bundle, model(0.8), encoder="vit_tiny", weights="w")
    bundle.rename(bundle.with_name(path.stem))
    (tmp_path / "results" / "README.md").write_text("records")
    (tmp_path / "results" / "check.sh").write_text("bench verify .")
    _, verdicts, _ = told(bench, tmp_path / "results")
    assert not [f for v in verdicts for f in v["findings"] if f["check"] == "stray"]
    said = [f["sentence"] for v in verdicts for f in v["findings"] if f["outcome"] == "failed"]
    assert any("manifest.csv" in sentence for sentence in said)  # what a bundle holds is checked
    (tmp_path / "results" / "encoder" / "stray.parquet").write_text("")
    _, verdicts, _ = told(bench, tmp_path / "results")
    [said] = [f for v in verdicts for f in v["findings"] if f["check"] == "stray"]
    assert said["outcome"] == "failed" and said["sentence"].startswith("stray.parquet")


def test_named_records_have_their_whole_folder_as_controls_and_are_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = made(tmp_path, model(0.8, seed=3), encoder="vit_tiny", weights="good.pt")
    floor = made(tmp_path, model(0.2, seed=4), **FLOOR)
    [verdict] = verify_paths([good])
    assert verdict.path == good and outcome(verdict, "control")[0] == "ok"
    opened = []
    own = verifying.open_record
    monkeypatch.setattr(verifying, "open_record", lambda path: opened.append(path) or own(path))
    assert [verdict.path for verdict in verify_paths([good, floor, good])] == [good, floor]
    assert opened == [good, floor]
