"""Whole runs on real videos: what is computed once, what is kept, what a record accounts for."""

import json
import shutil
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
import torch

from bench.evaluate import write_record as assembling
from bench.evaluate.probe_files import load_fitted
from benchmarks.plain_attentive import PlainAttentiveProbe
from probes.stack.attentive_blocks import AttentiveBlocks
from probes.stack.released_blocks import to_released
from tests.commands import Bench, Records
from tests.media import write_video

TINY = ["-m", "random:vit_digits", "-t", "folder", "--workers", "0"]


def predictions(home: Path, record: dict[str, Any]) -> pd.DataFrame:
    return pd.read_parquet(home / "records" / record["artifacts"]["predictions"]["path"])


def test_second_probe_on_stored_features_decodes_and_encodes_nothing(
    records: Records, video_set: Path, tmp_path: Path
) -> None:
    base = [*TINY, "--data", video_set]
    first, second = records(*base, "-p", "linear,logistic")
    assert first["features"]["decoded"] == 18 and first["features"]["encoder_calls"] > 0
    [later] = records(*base, "-p", "knn", "--set", "probe.k=[1,3]")
    for record in (second, later):
        assert record["features"]["decoded"] == record["features"]["encoder_calls"] == 0
        assert record["features"]["rows_from_store"] == 18
        assert record["features"]["fit_key"] == first["features"]["fit_key"]


def test_predictions_are_the_same_for_every_batch_size_and_number_of_workers(
    records: Records, video_set: Path, tmp_path: Path
) -> None:
    made = []
    for batch_size, workers in ((1, 0), (7, 2), (64, 0)):
        home = tmp_path / f"home-{batch_size}"
        made += [
            [r["metrics"], r["artifacts"]["predictions"]["sha256"], r["id"]]
            for r in records(
                "-m", "random:vit_digits", "-t", "folder", "--data", video_set, "--home", home,
                "-p", "attentive,logistic", "--batch-size", batch_size, "--workers", workers,
            )
        ]  # fmt: skip
    assert made[0] == made[2] == made[4]
    assert made[1] == made[3] == made[5]


def test_unreadable_score_video_counts_as_wrong_and_is_listed(
    records: Records, video_set: Path, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    shutil.copytree(video_set, root)
    (root / "val/run/1.mp4").write_bytes(b"not a video")
    [record] = records(
        *TINY, "--data", root, "-p", "knn", "--set", "probe.k=1", "--on-unreadable", "wrong"
    )
    metrics, score = record["metrics"], record["data"]["score"]
    assert list(score["undecodable"]) == ["run/1.mp4"] and score["listed"] == 6
    assert metrics["scored"] == 5 and metrics["top1"] == metrics["correct"] / 6
    assert metrics["bounds"] == {
        "low": metrics["correct"] / 6,
        "high": (metrics["correct"] + 1) / 6,
    }
    table = predictions(tmp_path / "home", record)
    assert table[table.status == "undecodable"].id.tolist() == ["run/1.mp4"]


def test_run_on_record_is_kept_and_computed_again_only_when_asked(
    records: Records, video_set: Path, tmp_path: Path
) -> None:
    arguments = [*TINY, "--data", video_set, "-p", "knn", "--set", "probe.k=1"]
    [first] = records(*arguments)
    [again] = records(*arguments)
    assert again == first
    [forced] = records(*arguments, "--overwrite")
    assert forced["metrics"] == first["metrics"] and forced["id"] == first["id"]


def test_run_killed_while_it_overwrites_is_not_on_record(
    records: Records, video_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*TINY, "--data", video_set, "-p", "knn", "--set", "probe.k=1"]
    [first] = records(*arguments)

    def killed(*_: object) -> NoReturn:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(assembling, "save_probe", killed)
        records(*arguments, "--overwrite")
    assert not list((tmp_path / "home" / "records").glob("*.json"))
    [again] = records(*arguments)
    assert again["id"] == first["id"] and again["artifacts"] == first["artifacts"]


class Killed(BaseException):
    pass


def test_record_can_be_run_again_from_its_own_config(
    records: Records, video_set: Path, tmp_path: Path
) -> None:
    [first] = records(*TINY, "--data", video_set, "-p", "knn", "--set", "probe.k=1")
    file = tmp_path / "home" / "records" / f"{first['id']}.json"
    [again] = records(file, "--data", video_set, "--workers", "0")
    assert again == first


def test_seed_and_settings_are_part_of_the_identity(records: Records, video_set: Path) -> None:
    arguments = [*TINY, "--data", video_set, "-p", "linear"]
    identities = [
        records(*arguments, *more)[0]["id"]
        for more in ([], ["--seed", "1"], ["--set", "probe.epochs=3"], ["--plan", "8x2x1@1"])
    ]
    assert len(set(identities)) == 4


def test_limited_run_is_marked_and_ends_in_code_3(
    bench: Bench, video_set: Path, tmp_path: Path
) -> None:
    code, out, _ = bench(
        "run",
        *TINY,
        "--data",
        video_set,
        "-p",
        "knn",
        "--set",
        "probe.k=1",
        "--limit",
        "3",
        "--json",
    )
    record = json.loads(out)
    assert code == 3 and record["status"] == "not_reportable"
    assert "limited to 3 rows per split" in record["reasons"]
    assert record["metrics"]["scored"] == 3


def test_released_protocol_draws_afresh_and_names_its_deviations(
    records: Records, video_set: Path
) -> None:
    [record] = records(
        *TINY, "--data", video_set, "-p", "attentive", "--protocol", "vjepa@1",
        "--set", "probe.epochs=2",
    )  # fmt: skip
    assert record["features"]["mode"] == "live"
    assert record["features"]["decoded"] == 2 * 12 + 6  # two epochs of training, one look to score
    assert record["plan"]["sampler"] == "vjepa"
    assert record["protocol"]["deviations"] == ["attentive epochs 2 instead of 20"]


def test_scored_clips_are_drawn_as_released_if_asked(
    bench: Bench, records: Records, video_set: Path, tmp_path: Path
) -> None:
    common = [
        *TINY, "--data", video_set, "-p", "attentive", "--protocol", "vjepa@1", "--plan", "8x1@1",
        "--set", "probe.epochs=1",
    ]  # fmt: skip
    ways = {"first": [], "drawn": ["score_clips=drawn"], "centred": ["score_clips=centred"]}
    found = {
        way: records(*common, *(word for text in texts for word in ("--set", text)))[0]
        for way, texts in ways.items()
    }
    [again] = records(*common, "--set", "score_clips=drawn", "--seed", "1")
    keys = [record["features"]["score_key"] for record in (*found.values(), again)]
    assert len({*keys}) == 4
    samplers = [record["plan"]["sampler"] for record in found.values()]
    assert samplers == ["vjepa", "vjepa_drawn", "vjepa_centred"]
    assert any("draws them at random" in text for text in found["first"]["protocol"]["departures"])
    assert found["drawn"]["protocol"]["departures"] == []
    assert (
        "scored clips drawn in their segment with seed 0"
        in found["drawn"]["protocol"]["deviations"]
    )
    for record in found.values():
        code, out, _ = bench("verify", tmp_path / "home" / "records" / f"{record['id']}.json")
        assert code in (0, 3) and " protocol " not in out, out
    code, _, err = bench(
        "run", *TINY, "-p", "knn", "--data", video_set, "--set", "score_clips=drawn"
    )
    assert code == 2 and "not for folder with honest@1" in err


def test_stored_draws_give_the_probe_another_augmentation_every_epoch(
    records: Records, video_set: Path
) -> None:
    [record] = records(
        *TINY, "--data", video_set, "-p", "attentive", "--draws", "2", "--set", "probe.epochs=2",
        "--set", "probe.lr=1e-3", "--set", "probe.weight_decay=0.01",
    )  # fmt: skip
    assert record["features"]["decoded"] == 2 * 12 + 6
    assert any("draws 2 instead of 0" in line for line in record["protocol"]["deviations"])


def test_released_probe_file_is_scored_as_it_is(records: Records, tmp_path: Path) -> None:
    root = tmp_path / "set"
    for split in ("train", "val"):
        for label in range(7):
            path = root / split / f"class {label}" / "0.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, 10 + label, size=(48, 40), fps=10)
    encoder = ["-m", "vjepa:tests/fixtures/v1_encoder.pt", "--set", "encoder.num_heads=4"]
    common = [*encoder, "-t", "folder", "--data", root, "--workers", "0", "--set", "dtype=float32"]
    [record] = records(
        *common, "-p", "attentive", "--probe-weights", "tests/fixtures/attentive_v1.pt"
    )
    assert record["data"]["fit"] is None and record["probe"]["selection"]["rule"].startswith("rel")
    assert record["probe"]["released_sha256"]
    settings = record["probe"]["settings"]
    assert (settings["num_heads"], settings["epochs"], settings["batch_size"]) == (4, 20, 4 * 64)
    assert {settings[key] for key in ("warmup", "clip_norm", "final_weight_decay")} == {"unknown"}
    assert record["probe"]["heads"] == [{"lr": "unknown", "weight_decay": "unknown"}]

    # The same by hand: stored tokens through the plain module with the released tensors.
    held = torch.load("tests/fixtures/attentive_v1.pt", weights_only=True)["classifier"]
    plain = PlainAttentiveProbe(width=28, num_attention_heads=4, num_classes=7)
    plain.load_state_dict({name.removeprefix("module."): t for name, t in held.items()})
    tokens = stored_tokens(tmp_path / "home", record["features"]["score_key"])
    expected = plain(tokens).softmax(-1).detach().numpy()
    table = predictions(tmp_path / "home", record)
    for row in range(7):
        found = np.zeros(7)
        found[list(table.top_classes[row])] = list(table.top_probabilities[row])
        np.testing.assert_allclose(found, expected[row], atol=1e-5)


def stored_tokens(home: Path, key: str) -> torch.Tensor:
    """All rows of a one-block set, `[rows, L, D]`."""
    from safetensors.torch import load_file

    [block] = (home / "features" / key[:2] / key).rglob("*.safetensors")
    return load_file(block)["x"][:, 0, 0]


def test_features_command_fills_the_store_that_a_run_then_reads(
    bench: Bench, records: Records, video_set: Path
) -> None:
    base = ["-m", "random:vit_digits", "-t", "folder", "--data", video_set, "--workers", "0"]
    code, out, _ = bench("features", *base, "--reads", "vector,tokens")
    assert code == 0 and len(out.split()) == 4
    [record] = records(*base, "-p", "attentive", "--set", "probe.epochs=1")
    assert record["features"]["decoded"] == 0


def test_terminated_process_ends_with_143(tmp_path: Path, video_set: Path) -> None:
    import signal
    import subprocess
    import sys
    import time

    command = [sys.executable, "-m", "bench", "run", *TINY, "--data", str(video_set)]
    command += ["-p", "attentive", "--set", "probe.epochs=1000000", "--home", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (tmp_path / "features").exists():
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=600)
        assert process.returncode == 143
        assert said.count("bench: interrupted") == 1


@pytest.mark.parametrize("pool", ["tokens", "mean", "frames"])
def test_encode_clips_gives_the_reference_tokens(bench: Bench, tmp_path: Path, pool: str) -> None:
    golden = np.load("tests/fixtures/v1_encoder_io.npz")
    clips, out = tmp_path / "clips.npz", tmp_path / "out.npz"
    np.savez(clips, clip=golden["clip"])
    code, _, err = bench(
        "encode", "-m", "vjepa:tests/fixtures/v1_encoder.pt", "--set", "encoder.num_heads=4",
        "--clips", clips, "--pool", pool, "--out", out,
    )  # fmt: skip
    assert code == 0, err
    tokens = golden["tokens_target"]
    expected = {
        "tokens": tokens,
        "mean": tokens.mean(1),
        "frames": tokens.reshape(2, 4, 16, 28).mean(2),
    }[pool]
    made = np.load(out)
    np.testing.assert_allclose(made[pool], expected, atol=1e-5)
    assert made["grid"].tolist() == [4, 4, 4]


def test_encode_of_a_folder_names_every_row(bench: Bench, video_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    code, _, err = bench(
        "encode", "-m", "random:vit_digits", "--videos", video_set / "val", "--out", out,
        "--plan", "8x2x1@1", "--workers", "0",
    )  # fmt: skip
    assert code == 0, err
    made = np.load(out)
    assert made["mean"].shape == (12, 96)
    assert made["path"][:3].tolist() == ["jump/0.mp4", "jump/0.mp4", "jump/1.mp4"]


def test_probe_on_arrays_reaches_the_reference_accuracy(bench: Bench, tmp_path: Path) -> None:
    golden = np.load("tests/fixtures/knn_golden.npz")
    train, score = tmp_path / "train.npz", tmp_path / "score.npz"
    np.savez(train, x=golden["train_features"], y=golden["train_labels"])
    np.savez(score, x=golden["test_features"], y=golden["test_labels"])
    code, out, err = bench(
        "probe", "--train", train, "--score", score, "-p", "knn", "--set", "k=20", "--json"
    )
    assert code in (0, 3), err
    record = json.loads(out)
    expected = json.loads(Path("tests/fixtures/knn_expected.json").read_text())["20"]["dino_top1"]
    assert record["metrics"]["top1"] == pytest.approx(expected / 100, abs=1e-9)
    assert (tmp_path / "home" / "records" / f"{record['id']}.json").exists()
    [predictions] = (tmp_path / "home" / "records").glob("*.parquet")
    before = predictions.stat().st_mtime_ns
    code, out, err = bench(
        "probe", "--train", train, "--score", score, "-p", "knn", "--set", "k=20", "--json"
    )
    assert code in (0, 3), err
    assert json.loads(out) == record and predictions.stat().st_mtime_ns == before


def test_unreadable_score_video_can_be_left_out_and_widens_the_bounds(
    records: Records, video_set: Path, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    shutil.copytree(video_set, root)
    (root / "val/run/1.mp4").write_bytes(b"not a video")
    [record] = records(
        *TINY, "--data", root, "-p", "knn", "--set", "probe.k=1", "--on-unreadable", "skip"
    )
    metrics = record["metrics"]
    assert metrics["top1"] == metrics["correct"] / 5
    assert metrics["bounds"] == {
        "low": metrics["correct"] / 6,
        "high": (metrics["correct"] + 1) / 6,
    }


def test_live_run_has_its_own_identity_and_true_facts(records: Records, video_set: Path) -> None:
    arguments = [*TINY, "--data", video_set, "-p", "knn", "--set", "probe.k=1"]
    [stored] = records(*arguments)
    [live] = records(*arguments, "--set", "features=live")
    assert live["id"] != stored["id"]
    assert live["features"]["dtype"] == "float32" and stored["features"]["dtype"] == "float16"
    for fact in ("decoders", "repeated_frames"):
        assert live["features"][fact] == stored["features"][fact]
    assert sum(stored["features"]["decoders"].values()) == 18


def test_probe_is_stored_or_live_whatever_runs_beside_it(
    records: Records,
    video_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from bench.evaluate import split_features

    # Room for the vectors (18 rows of 96 values) but not for the tokens.
    monkeypatch.setattr(
        split_features.shutil, "disk_usage", lambda _: type("U", (), {"free": 50_000})()
    )
    monkeypatch.setattr("bench.features.extract._check_space", lambda *_: None)
    common = [*TINY, "--data", video_set, "--set", "probe.epochs=2"]
    [alone] = records(*common, "-p", "linear", "--home", tmp_path / "a")
    assert not caplog.messages
    [live, beside] = records(*common, "-p", "attentive,linear", "--home", tmp_path / "b")
    for split in ("fit", "score"):
        [note] = [n for n in live["data"][split]["notes"] if "computed live" in n]
        assert "tokens features" in note and f"folder: {note}" in caplog.messages
        assert not any("computed live" in one for one in beside["data"][split]["notes"])
    assert alone["id"] == beside["id"] and beside["features"]["mode"] == "stored"
    assert alone["artifacts"]["predictions"] == beside["artifacts"]["predictions"]


def test_option_has_one_identity_however_it_is_written(
    records: Records, video_set: Path, tmp_path: Path
) -> None:
    config = tmp_path / "run.toml"
    config.write_text("[probe_options]\nk = [1, 3]\n[encoder_options]\nseed = 3\n")
    common = [*TINY, "--data", video_set, "-p", "knn"]
    [written] = records(config, *common)
    [given] = records(*common, "--set", "probe.k=1,3", "--set", "encoder.seed=3")
    assert written["id"] == given["id"]


def test_sweep_under_a_protocol_with_one_head_is_refused_before_decoding(
    bench: Bench, video_set: Path, tmp_path: Path
) -> None:
    code, _, err = bench("run", *TINY, "--data", video_set, "-p", "knn", "--protocol", "vjepa@1")
    assert code == 2 and "knn has 4" in err
    assert not (tmp_path / "home" / "features").exists()


def test_finished_runs_are_shown_when_a_later_one_fails(bench: Bench, video_set: Path) -> None:
    code, out, err = bench(
        "run", *TINY, "-m", "vjepa:nope.pt", "--data", video_set, "-p", "knn", "--set", "probe.k=1",
        "--json",
    )  # fmt: skip
    assert code == 2 and "nope.pt" in err
    assert json.loads(out)["encoder"]["name"] == "random:vit_digits"


def test_other_number_of_attention_heads_is_a_deviation(records: Records, video_set: Path) -> None:
    [record] = records(
        *TINY, "--data", video_set, "-p", "attentive", "--set", "probe.num_heads=2",
        "--set", "probe.epochs=1",
    )  # fmt: skip
    assert "attentive num_heads 2 instead of 3" in record["protocol"]["deviations"]


SWEEP = ["--set", "probe.lr=[1e-3,1e-9]", "--set", "probe.weight_decay=0.1"]
ONE_HEAD = ["--set", "probe.lr=1e-3", "--set", "probe.weight_decay=0.1"]


def test_best_head_on_the_scored_rows_is_marked_and_reported(
    records: Records, video_set: Path, tmp_path: Path
) -> None:
    arguments = [
        *TINY, "--data", video_set, "-p", "attentive4", "--protocol", "vjepa2@1",
        "--set", "probe.epochs=2", "--set", "probe.batch_size=5",
    ]  # fmt: skip
    [record] = records(*arguments, *SWEEP)
    probe = record["probe"]
    scores = probe["selection"]["score_split_scores"]
    assert probe["selection"]["rule"] == "best_on_score" and len(scores) == 2
    assert max(scores) == scores[probe["selected"]] == record["metrics"]["top1"]
    assert probe["settings"]["num_heads"] == 16  # not the three of the encoder
    assert probe["settings"]["drop_last"] and probe["log"]["steps"] == 2 * (12 // 5)
    assert record["plan"]["sampler"] == "vjepa" and record["features"]["mode"] == "live"
    departures = record["protocol"]["deviations"]
    assert any("attentive4 batch_size 5 instead of 256" in line for line in departures)
    # The head alone is the head of the sweep, and its file scores as the run did.
    [alone] = records(*arguments, *ONE_HEAD)
    if probe["selected"] == 0:
        assert alone["metrics"]["top1"] == record["metrics"]["top1"]
    saved = load_fitted(tmp_path / "home" / "records" / f"{record['id']}-probe")
    assert len(saved.fitted.heads) == 1
    assert dict(saved.fitted.heads[0].settings) == probe["heads"][probe["selected"]]


def test_layers_are_joined_on_tokens_stored_and_live_and_stand_in_the_record(
    records: Records, video_set: Path
) -> None:
    arguments = [*TINY, "--data", video_set, "-p", "attentive4", "--set", "probe.epochs=1",
                 "--set", "probe.num_heads=2", *ONE_HEAD]  # fmt: skip
    [last] = records(*arguments)
    assert "layers" not in last["config"]  # so that ids are those of earlier versions
    layers = ["--set", "layers=[1,3]", "--set", "dtype=float32"]
    [both] = records(*arguments, *layers)
    assert both["config"]["layers"] == [1, 3]
    assert "layers 1, 3 instead of the last block alone" in both["protocol"]["deviations"]
    assert both["features"]["score_key"] != last["features"]["score_key"]
    [live] = records(*arguments, *layers, "--set", "features=live")
    assert live["metrics"] == both["metrics"] and live["id"] != both["id"]


def test_layers_that_are_not_there_or_not_in_order_are_refused(
    bench: Bench, video_set: Path
) -> None:
    common = [*TINY, "--data", video_set, "-p", "knn"]
    code, _, err = bench("run", *common, "--set", "layers=[2,7]")
    assert code == 2 and "layers 2, 7" in err and "has 4 blocks" in err
    code, _, err = bench("run", *common, "--set", "layers=[3,1]")
    assert code == 2 and "ascending" in err


def test_released_head_of_a_sweep_is_scored_as_it_is(
    records: Records, video_set: Path, tmp_path: Path
) -> None:
    stack = AttentiveBlocks(num_probes=2, width=96, num_attention_heads=16, num_classes=3)
    stack.initialise(0)
    with torch.no_grad():
        stack.linear_bias[1, 2] += 100  # the second head always says the third class
    heads = [{f"module.{n}": t for n, t in to_released(stack, k).items()} for k in range(2)]
    torch.save({"classifiers": heads, "epoch": 20}, tmp_path / "latest.pt")
    arguments = [*TINY, "--data", video_set, "-p", "attentive4", "--protocol", "vjepa2@1",
                 "--probe-weights", tmp_path / "latest.pt"]  # fmt: skip
    [first] = records(*arguments)
    [second] = records(*arguments, "--set", "probe.released_head=1")
    assert first["id"] != second["id"]
    assert second["probe"]["log"]["head"] == 1 and second["metrics"]["top1"] == 2 / 6
    assert second["probe"]["selection"]["rule"] == "released probe, no fit"
