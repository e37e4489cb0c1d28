"""What a record says of its encoder: card, input, check, and a warning of random weights."""

import json
from pathlib import Path

import torch

from bench.encoders.encoder import open_encoder
from bench.encoders.networks.video_vit import fresh_vit
from bench.encoders.vjepa import vit_spec
from bench.encoders.weights.encoder_folder import save_encoder
from bench.records.record import Record
from bench.records.record_files import parse_record, read_record
from tests.commands import Bench, Records

QUICK = ["-t", "folder", "--workers", "0", "-p", "knn", "--set", "probe.k=1"]


def test_a_record_holds_the_check_of_its_encoder(
    records: Records, video_set: Path, tmp_path: Path
) -> None:
    [record] = records("-m", "digits_tiny", *QUICK, "--data", video_set)
    encoder = record["encoder"]
    assert encoder["check"]["clip"] == "formula-1 8x48" and len(encoder["check"]["blocks"]) == 8
    assert encoder["check"]["num_tensors"] == 53 and encoder["check"]["fresh_norms"] == []
    assert (encoder["takes"], encoder["depth"], encoder["clips_per_call"]) == ("video", 4, 16)
    assert set(encoder["card"]) == {"licence", "trained_on", "labels"}
    assert not any("look random" in note for note in encoder["notes"])


def test_random_weights_in_a_file_are_warned_of_and_a_floor_is_not(
    records: Records, video_set: Path, tmp_path: Path
) -> None:
    floor = open_encoder("random:vit_digits", {})
    network = fresh_vit(floor.network.architecture, seed=3)
    spec = vit_spec(network, name="x", source="y")
    save_encoder(tmp_path / "fresh", type(floor)(network, spec))
    for name, warned in ((f"vjepa:{tmp_path / 'fresh'}", True), ("random:vit_digits", False)):
        [record] = records("-m", name, *QUICK, "--data", video_set)
        notes = record["encoder"]["notes"]
        assert any("look random: all 9" in note for note in notes) is warned
        assert len(record["encoder"]["check"]["fresh_norms"]) == 9


def test_a_broken_encoder_is_refused_before_anything_is_decoded(
    bench: Bench, video_set: Path, tmp_path: Path
) -> None:
    network = fresh_vit(open_encoder("digits_tiny", {}).network.architecture, seed=3)
    with torch.no_grad():  # finite, but beyond float32 once it is squared
        network.norm.weight.fill_(3e38)
    spec = vit_spec(network, name="x", source="y")
    save_encoder(tmp_path / "broken", type(open_encoder("digits_tiny", {}))(network, spec))
    code, _, err = bench("run", "-m", tmp_path / "broken", *QUICK, "--data", video_set)
    assert code == 2 and "not finite" in err
    assert not list((tmp_path / "home").glob("features/*/*"))


def test_the_check_is_no_part_of_the_outcome_and_older_records_have_none(
    records: Records, video_set: Path
) -> None:
    [fields] = records("-m", "digits_tiny", *QUICK, "--data", video_set)
    record = Record.model_validate(fields)
    assert "check" not in record.outcome()["encoder"] and record.encoder.check is not None
    for key in ("takes", "depth", "clips_per_call", "card", "check"):
        del fields["encoder"][key]
    older = parse_record(json.dumps(fields), "older.json")
    assert older.encoder.check is None and older.encoder.card.licence == "unknown"
    for path in (Path(__file__).parents[1] / "fixtures" / "records").glob("[12]/*.json"):
        assert read_record(path).encoder.check is None
