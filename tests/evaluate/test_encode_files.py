"""What `bench encode` refuses, before it computes anything and in one sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import Bench

TINY = ["-m", "random:vit_digits", "--workers", "0"]  # 8 frames of 48 x 48 pixels


@pytest.fixture
def refused(bench: Bench, tmp_path: Path) -> Callable[..., str]:
    """Run `bench encode`, check the exit code, and return its one sentence."""

    def call(*arguments: object, code: int) -> str:
        ended, _, err = bench("encode", *TINY, "--out", tmp_path / "out.npz", *arguments)
        said = [line for line in err.splitlines() if line.startswith("bench: ")]
        assert ended == code and len(said) == 1 and "Traceback" not in err, err
        assert not (tmp_path / "out.npz").exists()
        return said[0]

    return call


@pytest.fixture
def clips(tmp_path: Path) -> Callable[..., Path]:
    def write(array: np.ndarray, name: str = "clips.npz") -> Path:
        np.savez(tmp_path / name, clip=array)
        return tmp_path / name

    return write


def test_clips_of_the_size_the_encoder_takes_are_encoded(
    bench: Bench, clips: Callable[..., Path], tmp_path: Path
) -> None:
    path, out = clips(np.zeros((3, 8, 48, 48, 3), np.uint8)), tmp_path / "out.npz"
    code, _, err = bench("encode", *TINY, "--clips", path, "--out", out)
    assert code == 0, err
    assert np.load(out)["mean"].shape == (3, 96)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_clips_with_values_that_are_not_finite_are_refused(
    refused: Callable[..., str], clips: Callable[..., Path], value: float
) -> None:
    array = np.zeros((3, 3, 8, 48, 48), np.float32)
    array[1:, 2, 7, 47, 5] = value
    said = refused("--clips", clips(array), code=4)
    assert "clips.npz" in said and "2 of 3 clips" in said and "first in clip 1" in said


@pytest.mark.parametrize(
    ("shape", "dtype", "has", "option"),
    [
        ((2, 3, 8, 64, 64), "float32", "8 frames of 64 x 64 pixels", "image_size=64"),
        ((2, 8, 64, 64, 3), "uint8", "8 frames of 64 x 64 pixels", "image_size=64"),
        ((2, 3, 4, 48, 48), "float32", "4 frames of 48 x 48 pixels", "num_frames=4"),
        ((2, 16, 48, 48, 3), "uint8", "16 frames of 48 x 48 pixels", "num_frames=16"),
    ],
)
def test_clips_of_another_size_name_the_option(
    refused: Callable[..., str],
    clips: Callable[..., Path],
    shape: tuple[int, int, int, int, int],
    dtype: str,
    has: str,
    option: str,
) -> None:
    said = refused("--clips", clips(np.zeros(shape, dtype)), code=4)
    assert "clips.npz" in said and has in said and "takes 8 frames of 48 x 48" in said
    assert f"--set encoder.{option}" in said
    assert said.count("--set") == 1


def test_clips_that_are_not_square_are_to_be_cut(
    refused: Callable[..., str], clips: Callable[..., Path]
) -> None:
    said = refused("--clips", clips(np.zeros((1, 8, 48, 64, 3), np.uint8)), code=4)
    assert "48 x 64 pixels" in said and "takes 8 frames of 48 x 48" in said
    assert "--set" not in said


def test_the_named_option_takes_the_clips(
    bench: Bench, clips: Callable[..., Path], tmp_path: Path
) -> None:
    path = clips(np.zeros((1, 4, 32, 32, 3), np.uint8))
    code, _, err = bench(
        "encode", *TINY, "--clips", path, "--out", tmp_path / "out.npz",
        "--set", "encoder.image_size=32", "--set", "encoder.num_frames=4",
    )  # fmt: skip
    assert code == 0, err


def test_file_without_clips_is_refused(
    refused: Callable[..., str], clips: Callable[..., Path]
) -> None:
    said = refused("--clips", clips(np.zeros((0, 8, 48, 48, 3), np.uint8), "zero.npz"), code=4)
    assert "zero.npz" in said and "no clip" in said


def test_files_that_are_no_npz_are_refused_without_unsafe_advice(
    refused: Callable[..., str], clips: Callable[..., Path], tmp_path: Path
) -> None:
    np.save(tmp_path / "plain.npy", np.zeros((1, 8, 48, 48, 3), np.uint8))
    (tmp_path / "junk.npz").write_text("hello")
    whole = clips(np.zeros((1, 8, 48, 48, 3), np.uint8), "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "spoilt.npz").write_bytes(whole[:4000] + b"spoilt" + whole[4006:])
    clips(np.array([{}]), "objects.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    for name, says in {
        "plain.npy": "a single array",
        "junk.npz": "not an .npz of plain arrays",
        "cut.npz": "cut short",
        "spoilt.npz": "damaged",
        "objects.npz": "Python objects",
        "other.npz": "must have the array clip",
        "none.npz": "cannot read",
    }.items():
        said = refused("--clips", tmp_path / name, code=4)
        assert name in said and says in said, said
        assert "pickle" not in said and "trust" not in said


def test_plan_is_refused_where_there_is_nothing_to_plan(
    refused: Callable[..., str], clips: Callable[..., Path], tmp_path: Path
) -> None:
    array = clips(np.zeros((1, 8, 48, 48, 3), np.uint8))
    said = refused("--clips", array, "--plan", "8x2x1@1", code=2)
    assert "--plan" in said and "--clips" in said
    (tmp_path / "images").mkdir()
    Image.new("RGB", (60, 50)).save(tmp_path / "images/a.png")
    said = refused("--videos", tmp_path / "images", "--plan", "8x2x1@1", code=2)
    assert "--plan" in said and "image" in said


def test_file_that_exists_is_not_overwritten(
    bench: Bench, clips: Callable[..., Path], tmp_path: Path
) -> None:
    path, out = clips(np.zeros((1, 8, 48, 48, 3), np.uint8)), tmp_path / "mine.npz"
    out.write_text("my features")
    code, _, err = bench("encode", *TINY, "--clips", path, "--out", out)
    assert code == 2 and "mine.npz" in err and "another" in err
    assert out.read_text() == "my features"


def test_missing_file_of_a_list_is_named_as_listed_with_the_list(
    refused: Callable[..., str], video_set: Path, tmp_path: Path
) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text(f"{video_set}/val/run/0.mp4\nclips/gone.mp4\nclips/lost.mp4\n")
    said = refused("--list", listing, code=4)
    assert "'clips/gone.mp4'" in said and str(listing) in said and "2 of 3" in said
    assert "cannot be decoded" not in said and "fetch" not in said


def test_undecodable_file_of_a_folder_is_named_with_its_path(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "set/run").mkdir(parents=True)
    (tmp_path / "set/run/0.mp4").write_text("<html>404</html>")
    said = refused("--videos", tmp_path / "set", code=4)
    assert f"{tmp_path}/set/run/0.mp4 cannot be decoded: it is a web page, not a video" in said
    assert said.count("0.mp4") == 1 and ". Leave" not in said
