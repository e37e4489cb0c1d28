"""Wrong inputs a newcomer will give: each ends in one sentence with the next step, no traceback."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cli.main import main
from bench.encoders.networks.sizes import VIT_SIZES
from bench.encoders.networks.video_vit import fresh_vit
from bench.encoders.weights.layouts import save_released
from tests.media import write_video

TINY = ["-m", "random:vit_digits", "--workers", "0"]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for label in ("left", "right"):
            for number in range(2):
                path = tmp_path / "set" / split / label / f"{number}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_video(path, 12, size=(64, 64), fps=12)
    return tmp_path / "set"


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """A checkpoint in the released layout, as a dict to be spoilt, and where to put it."""
    path = tmp_path / "tiny-latest.pth.tar"
    network = fresh_vit(VIT_SIZES["vit_digits"], seed=0)
    save_released(path, target=network, encoder=network)
    return torch.load(path, weights_only=True), path


def fails(capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: object, code: int) -> str:
    """Run the command, check the exit code, and return its one sentence."""
    home = [] if "--home" in arguments else ["--home", str(tmp_path / "home")]
    with pytest.raises(SystemExit) as stop:
        main([*map(str, arguments), *home])
    said = capsys.readouterr().err.strip()
    assert stop.value.code == code, said
    lines = [line for line in said.splitlines() if line.startswith("bench: ")]
    assert len(lines) == 1 and "Traceback" not in said, said
    return lines[0]


def test_misspelt_task_is_answered_with_the_closest_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = fails(capsys, tmp_path, "run", *TINY, "-t", "moving_digits_wat", "-p", "knn", code=2)
    assert "moving_digits_what" in said


def test_missing_root_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    said = fails(
        capsys, tmp_path, "run", *TINY, "-t", "folder", "-p", "knn", "--data", root, code=4
    )
    assert str(root) in said


def test_label_out_of_range_names_the_line_and_the_range(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, videos: Path
) -> None:
    classes, train = tmp_path / "classes.txt", tmp_path / "train.txt"
    classes.write_text("left\nright\n")
    train.write_text("set/train/left/0.mp4 0\nset/train/right/0.mp4 7\n")
    settings = [f"--set=task.{key}={train}" for key in ("train", "val")]
    said = fails(
        capsys, tmp_path, "run", *TINY, "-t", "listing", "-p", "knn", *settings,
        f"--set=task.classes={classes}", code=4,
    )  # fmt: skip
    assert "7" in said and "2" in said and "train.txt" in said


def test_empty_list_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    train = tmp_path / "train.csv"
    train.write_text("\n\n")
    settings = [f"--set=task.{key}={train}" for key in ("train", "val")]
    said = fails(capsys, tmp_path, "run", *TINY, "-t", "listing", "-p", "knn", *settings, code=4)
    assert "train.csv" in said


def test_unreadable_video_stops_the_run_and_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, videos: Path
) -> None:
    (videos / "val/left/0.mp4").write_text("<html>404</html>")
    said = fails(
        capsys, tmp_path, "run", *TINY, "-t", "folder", "-p", "knn", "--data", videos, code=4
    )
    assert "left/0.mp4" in said and "folder val" in said and "--on-unreadable" in said


def test_half_a_checkpoint_is_refused_with_the_missing_tensors(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    checkpoint: tuple[dict[str, Any], Path],
    videos: Path,
) -> None:
    held, path = checkpoint
    for key in ("encoder", "target_encoder"):
        held[key] = {n: t for n, t in held[key].items() if ".blocks.2.mlp" not in n}
    torch.save(held, path)
    said = fails(
        capsys, tmp_path, "run", "-m", f"vjepa:{path}", "--set", "encoder.num_heads=3",
        "--set", "encoder.num_frames=8", "-t", "folder", "-p", "knn", "--data", videos, code=2,
    )  # fmt: skip
    assert "blocks.2.mlp" in said


def test_predictor_file_is_refused_as_encoder(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    checkpoint: tuple[dict[str, Any], Path],
    videos: Path,
) -> None:
    _, path = checkpoint
    tensors = {
        "module.backbone.predictor_embed.weight": torch.zeros(4, 8),
        "module.backbone.predictor_proj.weight": torch.zeros(8, 4),
    }
    torch.save({"target_encoder": tensors, "encoder": tensors}, path)
    said = fails(
        capsys, tmp_path, "run", "-m", f"vjepa:{path}", "-t", "folder", "-p", "knn",
        "--data", videos, code=2,
    )  # fmt: skip
    assert "predictor" in said


def test_option_of_another_probe_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = fails(
        capsys, tmp_path, "run", *TINY, "-t", "moving_digits_what", "-p", "knn",
        "--set", "probe.epochs=3", code=2,
    )  # fmt: skip
    assert "knn" in said and "epochs" in said


def test_plan_with_more_frames_than_the_encoder_takes_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, videos: Path
) -> None:
    said = fails(
        capsys, tmp_path, "run", *TINY, "-t", "folder", "-p", "knn", "--data", videos,
        "--plan", "64x1x1@1", code=2,
    )  # fmt: skip
    assert "64" in said and "8x1x1@1" in said


def test_home_that_cannot_be_written_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, videos: Path
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file, not a folder")
    said = fails(
        capsys, tmp_path, "run", *TINY, "-t", "folder", "-p", "knn", "--data", videos,
        "--home", taken, code=1,
    )  # fmt: skip
    assert "taken" in said and "--home" in said


def test_misspelt_key_and_unknown_command_line_option(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = [*TINY, "-t", "moving_digits_what", "-p", "knn"]
    said = fails(capsys, tmp_path, "run", *arguments, "--set", "sed=3", code=2)
    assert "'seed'" in said


def test_process_ends_with_the_exit_code_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "run", "-m", "random:vit_digits", "-t", "nope"]
    ended = subprocess.run([*command, "-p", "knn"], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr and ended.stderr.startswith("bench: ")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("table.toml", "probe_options = 3", "probe_options"),
        ("number.toml", "encoder = 5", "encoder"),
        ("list.json", "[1, 2]", "neither"),
        ("record.json", '{"config": 3}', "no configuration"),
        ("owner.toml", "[probe_options.lineer]\nepochs = 3", "'linear'"),
        ("key.toml", 'protocl = "honest@1"', "'protocol'"),
        ("broken.toml", "encoder = ", "neither"),
    ],
)
def test_configuration_that_cannot_work_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, text: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    names = {"number.toml": ["-t", "folder"]}.get(name, [*TINY, "-t", "folder"])
    assert said in fails(capsys, tmp_path, "run", path, *names, "-p", "linear", code=2)


def test_plan_that_repeats_one_frame_of_a_video_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, videos: Path
) -> None:
    said = fails(
        capsys, tmp_path, "run", *TINY, "-t", "folder", "-p", "knn", "--data", videos,
        "--plan", "8x1x1@0", code=2,
    )  # fmt: skip
    assert "stride" in said
