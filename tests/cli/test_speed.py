"""`bench speed`: what it measures and keeps; no test here depends on how fast the machine is."""

import json
from pathlib import Path

import pytest

from bench.records.speeds import newest_speeds
from tests.commands import Bench


def test_speed_is_measured_printed_and_kept(bench: Bench, tmp_path: Path) -> None:
    home = tmp_path / "there"
    words = ["speed", "digits_tiny", "--device", "cpu", "--repeats", "3", "--home", home]
    code, out, err = bench(*words, "--json", "-b", "2")
    assert code == 0, err
    found = json.loads(out)
    assert (found["batch"], found["repeats"], found["precision"]) == (2, 3, "fp32")
    assert 0 < found["lowest"] <= found["median"] <= found["highest"]
    assert found["gflops"] > 0 and found["device"]
    code, out, err = bench(*words)
    assert code == 0 and "GFLOPs per clip" in out and "fp32, batches of 16 on" in out, (out, err)
    [kept] = newest_speeds(home).values()
    assert kept.batch == 16 and kept.encoder == found["encoder"]
    assert kept.weights_sha256 == found["weights_sha256"]


@pytest.mark.parametrize("option", ["--repeats", "--batch-size"])
def test_nothing_to_measure_is_refused(bench: Bench, option: str, tmp_path: Path) -> None:
    code, _, err = bench("speed", "digits_tiny", option, "0", "--home", tmp_path)
    assert code == 2 and "must be at least 1" in err
