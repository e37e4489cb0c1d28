"""The environment stamp and the doctor, against the machine the tests run on."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bench.cli import doctor
from bench.cli.doctor import Advice, examine
from bench.records.environment import device_name, git_state, libav_versions, package_version, stamp


def test_the_stamp_is_flat_json_that_names_versions_and_machine() -> None:
    import torch

    facts = stamp("cpu")
    assert json.loads(json.dumps(facts)) == facts
    assert facts["python"] == platform.python_version()
    assert str(facts["torch"]).split("+")[0] == torch.__version__.split("+")[0]
    assert facts["cpus"] == os.cpu_count()
    assert facts["device"] == device_name("cpu") and facts["device"]
    assert {"timm", "decord", "av", "libav", "scikit-learn", "git_commit", "git_dirty"} <= set(
        facts
    )


def test_libav_is_named_by_library_and_version() -> None:
    import av

    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    assert f"libavcodec {codec}" in str(libav_versions())


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert package_version("no-such-package-of-ours") is None


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_checkout_is_named_and_dirty_once_a_file_is_added(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", tmp_path, *words], check=True, capture_output=True)

    assert git_state(tmp_path) == {"git_commit": None, "git_dirty": None}
    git("init")
    (tmp_path / "a").write_text("a")
    git("add", "a")
    git("-c", "user.name=n", "-c", "user.email=n@example.org", "commit", "-m", "first")
    clean = git_state(tmp_path)
    assert len(str(clean["git_commit"])) == 40
    assert clean["git_dirty"] is False
    (tmp_path / "b").write_text("b")
    assert git_state(tmp_path) == {**clean, "git_dirty": True}
    (tmp_path / "folder").mkdir()
    assert git_state(tmp_path / "folder")["git_commit"] is None


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Child processes answer at once: they load torch, which takes seconds."""
    said = {"torch.cuda": [None, [], []], "codecs_available": ["h264", "vp9", "mpeg4"]}

    def ask(program: str) -> Any:
        return next((answer for part, answer in said.items() if part in program), [])

    monkeypatch.setattr(doctor, "_ask", ask)
    return said


def found(name: str, home: Path | None = None) -> Advice:
    [finding] = [f for f in examine(home) if f.name == name]
    return finding


def test_the_doctor_reports_a_sound_machine_without_touching_the_home(
    answers: dict[str, Any], tmp_path: Path
) -> None:
    home = tmp_path / "not" / "there"
    assert found("torch", home).ok
    assert found("decoder av", home).value == package_version("av")
    assert found("codecs", home).ok
    assert not home.exists()


def test_a_missing_package_comes_with_the_command_that_installs_it(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "package_version", lambda name: None)
    finding = found("timm", tmp_path)
    assert (finding.ok, finding.fix) == (False, "pip install timm")
    assert found("decoder torchcodec", tmp_path).ok


def test_a_decoder_that_cannot_be_imported_is_reported(
    answers: dict[str, Any], tmp_path: Path
) -> None:
    answers["import json, av"] = "ImportError: libavcodec.so.62: cannot open shared object file"
    finding = found("decoder av", tmp_path)
    assert not finding.ok and "libavcodec.so.62" in finding.value
    assert finding.fix == "pip install --force-reinstall av"


def test_a_codec_that_is_not_there_is_named_with_the_data_set_that_needs_it(
    answers: dict[str, Any], tmp_path: Path
) -> None:
    answers["codecs_available"] = ["h264", "mpeg4"]
    assert "vp9 (Something-Something v2)" in found("codecs", tmp_path).value


def test_the_gpu_is_named_with_its_memory(answers: dict[str, Any], tmp_path: Path) -> None:
    answers["torch.cuda"] = ["13.0", ["Some GPU"], [80 * 2**30]]
    assert found("gpu", tmp_path) == Advice(
        name="gpu", ok=True, value="Some GPU (80 GiB), CUDA 13.0"
    )


def test_a_full_disk_and_a_read_only_home_are_reported(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "NEEDED_SPACE_GB", 1e9)
    assert "GB free" in found("home", tmp_path).value
    assert not found("home", tmp_path).ok

    def refuse(**place: Any) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    finding = found("home", tmp_path)
    assert "Permission denied" in finding.value and "BENCH_HOME" in finding.fix


def test_a_child_process_that_dies_is_put_into_words() -> None:
    assert doctor._ask("import os; os.kill(os.getpid(), 9)") == "the process was killed by signal 9"
    assert doctor._ask("import nothing_of_this_name") == (
        "ModuleNotFoundError: No module named 'nothing_of_this_name'"
    )
    assert doctor._ask("import json; print(json.dumps([1]))") == [1]
    assert sys.executable
