"""A whole pretraining run: what it keeps, what it reads, and that its encoder is evaluated."""

import json
import re
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.commands import Records
from tests.media import paint
from tests.pretrain.tiny_run import (
    assert_same_bits,
    encoder_files,
    entries,
    last_step,
    run_here,
    running,
    tensors,
    unreadable,
    wait_for,
    words,
    write_videos,
)

STEPS = 6


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    run = tmp_path_factory.mktemp("reference") / "run"
    assert run_here(words(videos, run, "--encoder-every", 2, steps=STEPS)) == 0
    return run


# -------------------------------------------------------------------------------- what a run keeps
def test_run_folder_holds_what_it_should(reference: Path) -> None:
    assert sorted(path.name for path in reference.iterdir()) == [
        "encoders", "latest.pth.tar", "log.jsonl", "recipe.json", "tensorboard",
    ]  # fmt: skip
    kept = sorted(path.name for path in (reference / "encoders").iterdir())
    assert kept == ["step_000000002", "step_000000004", "step_000000006"]
    assert len(set(encoder_files(reference).values())) == 3
    facts = json.loads((reference / "recipe.json").read_text())
    assert facts["recipe"]["num_steps"] == STEPS and facts["seed"] == 0


def test_every_entry_of_the_log_has_finite_numbers(reference: Path) -> None:
    for entry in entries(reference)[1:]:
        for key in ("loss", "lr", "encoder_norm", "predictor_norm", "clips_per_second"):
            assert entry[key] > 0, (key, entry)
        assert 0 <= entry["data_wait"] <= 1 and entry["unreadable"] == 0
        (context,), (target,) = entry["context_tokens"], entry["target_tokens"]
        assert context > 0 and target > 0 and context + target <= 4 * 6 * 6


def test_the_encoder_that_is_kept_is_the_target_encoder_of_the_checkpoint(reference: Path) -> None:
    from safetensors.torch import load_file

    kept = load_file(reference / "encoders/step_000000006/model.safetensors")
    held = tensors(reference)
    found = {n.split("backbone.")[1]: t for n, t in held.items() if n.startswith("target_encoder.")}
    shared = kept.keys() & found.keys()
    assert len(shared) == len(kept) and all(torch.equal(kept[n], found[n]) for n in shared)


def test_seed_decides_and_what_belongs_to_the_machine_does_not(
    videos: Path, reference: Path, tmp_path: Path
) -> None:
    same, other = tmp_path / "same", tmp_path / "other"
    machine = ("--workers", 1, "--keep-decoded", 1, "--save-every", 4, "--watch-every", 3)
    assert run_here(words(videos, same, *machine, steps=STEPS)) == 0
    assert_same_bits(same, reference)
    assert run_here(words(videos, other, "--seed", 1, steps=STEPS)) == 0
    mine, theirs = tensors(other), tensors(reference)
    name = next(name for name in mine if name.endswith("patch_embed.proj.weight"))
    assert not torch.equal(mine[name], theirs[name])


def test_accumulation_changes_no_more_than_rounding(videos: Path, tmp_path: Path) -> None:
    runs = [tmp_path / "whole", tmp_path / "halves"]
    for run, parts in zip(runs, (1, 2), strict=True):
        line = words(videos, run, "--accumulate", parts, steps=STEPS, precision="fp32")
        assert run_here(line) == 0
    assert_close(*runs)


# ------------------------------------------------------------------------------ what is made of it
@pytest.mark.parametrize("folder", ["", "encoders/step_000000002"])
def test_encoder_of_a_run_is_evaluated_by_the_command_line(
    reference: Path, video_set: Path, records: Records, folder: str
) -> None:
    (record,) = records(
        "--encoder", reference / folder, "--task", "folder", "--data", video_set,
        "--probe", "knn", "--set", "probe.k=1", "--workers", 0,
    )  # fmt: skip
    step = "step_000000002" if folder else "step_000000006"
    assert record["status"] in ("complete", "not_reportable")
    assert step in json.dumps(record["encoder"])


# --------------------------------------------------------------------------------- what a run reads
@pytest.mark.parametrize(("weight", "num_named"), [(1e-9, 0), (1.0, 3)])
def test_weights_say_how_often_a_list_is_read(
    videos: Path, tmp_path: Path, weight: float, num_named: int
) -> None:
    bad, run = tmp_path / "bad", tmp_path / "run"
    bad.mkdir()
    for number in range(3):
        (bad / f"{number}.mp4").write_bytes(b"no video")
    assert run_here(words([f"{videos}=1", f"{bad}={weight}"], run, steps=STEPS)) == 0
    assert len(unreadable(run)) == num_named
    facts = json.loads((run / "recipe.json").read_text())
    assert facts["lists"] == {str(videos): 6, str(bad): 3}


def test_images_are_read_as_still_clips(tmp_path: Path) -> None:
    for number in range(4):
        picture = Image.fromarray(paint(number * 37, size=(64, 48)))
        picture.save(tmp_path / f"{number}.png")
    listed = tmp_path / "stills.txt"
    listed.write_text("".join(f"{number}.png\n" for number in range(4)))
    run = tmp_path / "run"
    assert run_here(words(listed, run, steps=3)) == 0
    assert last_step(run) == 3 and not (run / "unreadable.jsonl").exists()


def test_pixels_can_be_predicted_in_place_of_features(videos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert run_here(words(videos, run, steps=3, target="pixels")) == 0
    held = tensors(run)
    out = next(t for n, t in held.items() if n.endswith("predictor_proj.weight"))
    assert out.shape == (2 * 8 * 8 * 3, 24)
    assert all(entry["loss"] > 0 for entry in entries(run)[1:])


def test_watched_task_is_probed_on_its_training_rows(
    videos: Path, video_set: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    line = words(videos, run, "--watch", "folder", "--data-root", video_set, steps=5)
    assert run_here(line) == 0
    measured = [entry for entry in entries(run) if "online" in entry]
    assert [entry["step"] for entry in measured] == [0, 5]
    assert all(
        0 <= entry["online"][probe] <= 1 for entry in measured for probe in ("knn", "linear")
    )
    facts = json.loads((run / "encoders/step_000000005/pretraining.json").read_text())
    assert facts["online"] == measured[-1]["online"]


# ---------------------------------------------------------------------------------- two processes
def assert_close(run: Path, reference: Path, tolerance: float = 1e-5) -> None:
    """Weights are equal up to rounding.

    A bias of attention's keys shifts all scores of a query alike, so its gradient is nothing but
    rounding, which AdamW scales up.
    """
    mine, theirs = tensors(run), tensors(reference)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        if name.startswith("opt."):
            continue
        difference = (value - theirs[name]).abs()
        if name.endswith("attn.qkv.bias"):
            difference = difference.reshape(3, -1)[[0, 2]]
        assert difference.max() <= tolerance, (name, float(difference.max()))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_two_processes_are_stopped_and_resumed_and_equal_one(
    videos: Path, tmp_path: Path, engine: str
) -> None:
    alone, run = tmp_path / "alone", tmp_path / "run"
    fp32 = {"steps": 20_000, "precision": "fp32"}
    assert run_here(words(videos, alone, "--steps", 5, **fp32)) == 0

    line = words(videos, run, "--gpus", 2, "--engine", engine, **fp32)
    with running([*line, "--steps", "5"]) as process:
        out, err = process.communicate()
        assert process.returncode == 0, err
    assert out == f"{run}/encoders/step_000000005\n"
    lines = [text for text in err.splitlines() if text.startswith("step ")]
    assert [int(re.findall(r"\d+", text)[0]) for text in lines] == [0, 1, 2, 3, 4, 5]
    assert_close(run, alone)
    for mine, theirs in zip(entries(run), entries(alone), strict=True):
        assert mine.get("loss", 0) == pytest.approx(theirs.get("loss", 0), abs=1e-5)

    with running([*line, "--resume"]) as process:
        wait_for(process, lambda: last_step(run) >= 8)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
        assert process.returncode == 143, err
    assert not out
    stopped = last_step(run)
    assert run_here(words(videos, alone, "--resume", "--steps", stopped, **fp32)) == 0
    assert_close(run, alone, tolerance=1e-4)
    # One process takes over what two began.
    assert run_here(words(videos, run, "--resume", "--steps", stopped + 1, **fp32)) == 0
    assert [entry["step"] for entry in entries(run)] == list(range(stopped + 2))
