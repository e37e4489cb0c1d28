from pathlib import Path

import pytest

from bench.config import RunConfig
from bench.encoders.encoder import open_encoder, weight_digest
from bench.encoders.named import encoder_folders, name_and_weights
from bench.encoders.networks.video_vit import VitArchitecture, fresh_vit
from bench.encoders.weights.encoder_folder import write_encoder
from bench.errors import UsageError
from bench.preflight.settle import settled
from tests.encoders.files import CHECKPOINT, HEADS

ARCHITECTURE = VitArchitecture(width=24, depth=1, num_heads=2, patch_size=8, image_size=16)


def run_with(tmp_path: Path, *steps: int) -> Path:
    """A pretraining run `mine` with an encoder folder for each of `steps`; its seed is the step."""
    for step in steps:
        vit = fresh_vit(ARCHITECTURE, seed=step)
        folder = tmp_path / "mine" / "encoders" / f"step_{step:09d}"
        write_encoder(folder, vit.state_dict(), ARCHITECTURE, name="mine", source="here")
    return tmp_path / "mine"


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("pixel_mean", ("pixel_mean", "")),
        ("vjepa:a/b.pt", ("vjepa", "a/b.pt")),
        ("vjepa:https://host/a.pt", ("vjepa", "https://host/a.pt")),
        ("random:vit_tiny", ("random", "vit_tiny")),
        ("nobody", ("nobody", "")),
    ],
)
def test_name_and_weights_are_split_at_the_first_colon(spec: str, parts: tuple[str, str]) -> None:
    assert name_and_weights(spec) == parts


def test_path_alone_is_opened_as_v_jepa(tmp_path: Path) -> None:
    folder = encoder_folders(run_with(tmp_path, 3))[0].rename(tmp_path / "folder")
    assert open_encoder(str(folder), {}).spec.name == "vjepa:folder"
    assert open_encoder(str(CHECKPOINT), HEADS).spec.name == "vjepa:v1_encoder"
    assert open_encoder(str(folder), {}).notes == ()


def test_registered_names_win_over_files_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pixel_mean").mkdir()
    assert open_encoder("pixel_mean", {}).spec.source == "pixels"


def test_pretraining_run_means_its_latest_encoder_by_number(tmp_path: Path) -> None:
    run = run_with(tmp_path, 20, 3, 1_000_000_000)
    (run / "encoders" / ".step_2000000000.unfinished").mkdir()
    (run / "encoders" / "step_9999999999.old").mkdir()
    for spec in (str(run), f"vjepa:{run}"):
        encoder = open_encoder(spec, {})
        assert weight_digest(encoder.network) == weight_digest(
            fresh_vit(ARCHITECTURE, seed=1_000_000_000)
        )
        assert encoder.spec.name == "vjepa:mine-step_1000000000"
        assert encoder.spec.source == f"{run}/encoders/step_1000000000"
        assert encoder.notes == ("step_1000000000 of the pretraining run mine, the latest there",)


def test_one_step_of_a_run_is_named_with_its_run(tmp_path: Path) -> None:
    run = run_with(tmp_path, 3, 20)
    encoder = open_encoder(f"{run}/encoders/step_000000003/", {})
    assert encoder.spec.name == "vjepa:mine-step_000000003"
    assert encoder.notes == (
        "step_000000003 of the pretraining run mine, where step_000000020 is the latest",
    )


def test_path_where_nothing_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        open_encoder(f"{tmp_path}/nothing", {})
    with pytest.raises(UsageError, match=r"no encoder 'vjeppa'\. Did you mean"):
        open_encoder("vjeppa", {})


def test_weights_by_path_and_in_the_options_are_refused(tmp_path: Path) -> None:
    run = run_with(tmp_path, 3)
    with pytest.raises(UsageError, match="give one of the two"):
        open_encoder(str(run), {"weights": "other.pt"})


def test_settled_run_names_one_step_so_that_it_means_the_same_later(tmp_path: Path) -> None:
    run = run_with(tmp_path, 3)
    config = settled(RunConfig(encoder=str(run), task="moving_digits_how", probe="knn"))
    assert config.encoder == f"vjepa:{run}/encoders/step_000000003"
    run_with(tmp_path, 4)
    assert settled(config) == config
