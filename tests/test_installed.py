"""The distribution as users have it: a wheel, in an environment without the checkout."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

import bench

ROOT = Path(__file__).parent.parent
PACKAGES = ("bench", "tasks", "probes", "leaderboards")
GUIDE = (ROOT / "docs" / "extending.md").read_text()
EXAMPLES = re.findall(
    r"^## [^\n]*: `(\w+\.py)`\n.*?```python\n(.*?)```.*?```bash\n(.*?)```", GUIDE, re.M | re.S
)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The wheel of the tree as it stands, built in a copy of it."""
    folder = tmp_path_factory.mktemp("wheel")
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in (*PACKAGES, "benchmarks", "tests"):
        shutil.copytree(ROOT / name, folder / "tree" / name, ignore=leave)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "tree")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index",
               "--no-build-isolation", "--wheel-dir", folder, folder / "tree"]  # fmt: skip
    subprocess.run(command, check=True)
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The commands of an environment with the wheel in it, and with the packages it needs."""
    home = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    inner = home / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    # Behind the wheel; what lies there of the checkout (an editable install) is not followed.
    (inner / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install",
               "--quiet", "--no-deps", "--no-index", wheel]  # fmt: skip
    subprocess.run(command, check=True)
    return home / "bin"


@pytest.fixture
def installed(scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command line of that environment in a folder of its own: (exit code, out, err)."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))

    def call(line: str) -> Any:
        made = subprocess.run(
            shlex.split(line), cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return made.returncode, made.stdout, made.stderr

    return call


def test_the_wheel_holds_the_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    files = {Path(name).name for name in names}
    data = {
        path.name
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".html", ".css", ".js", ".csv", ".txt", ".safetensors"}
    }
    assert {"page.html", "page.css", "page.js", "py.typed"} <= data | {"py.typed"} <= files
    for package in PACKAGES:
        assert f"{package}/py.typed" in names or not (ROOT / package / "py.typed").exists()
    shipped = {path.name for path in (ROOT / "bench" / "encoders" / "digits_tiny").iterdir()}
    assert shipped and shipped <= files


def test_both_commands_are_installed_and_are_the_wheels_own(installed: Any, scripts: Any) -> None:
    for command in ("bench", "frozenbench", "python -m bench"):
        code, out, error = installed(f"{command} --version")
        assert (code, out.splitlines()[0]) == (0, f"frozenbench {bench.__version__}"), error
    code, out, _ = installed("python -c 'import bench, tasks; print(bench.__file__)'")
    assert code == 0 and out.startswith(str(scripts.parent))


# ---------------------------------------------------------------------- folders of the user's own
FOREIGN = 'raise SystemExit("somebody else\'s module was run")\n'


@pytest.fixture
def foreign(tmp_path: Path) -> Any:
    """A working directory with packages and a module that are called like ours."""
    for name in ("tasks", "probes", "bench"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(FOREIGN)
    (tmp_path / "leaderboards.py").write_text(FOREIGN)
    (tmp_path / "tasks" / "birds.py").write_text(FOREIGN)
    return tmp_path


def test_folders_of_the_users_called_tasks_and_probes_do_no_harm(
    installed: Any, foreign: Any
) -> None:
    (foreign / "my_table.py").write_text("import bench\n@bench.board\ndef mine():\n  'Mine.'\n")
    code, out, error = installed("bench --with my_table ls boards --json")
    assert code == 0 and '"mine"' in out and "frozen_video" in out, error
    code, _, error = installed("bench --with no_such_module ls boards")
    assert code == 2 and "there is no module 'no_such_module'" in error


def test_python_m_bench_does_not_take_them_either(installed: Any, foreign: Any) -> None:
    shutil.rmtree(foreign / "bench")  # Python itself would run this one
    code, out, error = installed("python -m bench ls tasks --json")
    assert code == 0 and "k400" in out, error


def test_an_extension_in_a_folder_called_like_a_package_is_named(
    installed: Any, foreign: Any
) -> None:
    code, _, error = installed("bench --with tasks.birds ls tasks")
    assert code == 2 and error.count("\n") == 1
    assert f"{foreign / 'tasks' / 'birds.py'} is hidden, because Python finds 'tasks' in" in error


@pytest.mark.parametrize(
    ("name", "place"), [("tasks", "tasks"), ("probes", "probes"), ("boards", "leaderboards.py")]
)
def test_a_package_that_hides_ours_is_named_with_its_path(
    name: str, place: Path, installed: Any, foreign: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(foreign / "bench")
    for other in {"tasks", "probes"} - {place}:
        shutil.rmtree(foreign / other)
    if place != "leaderboards.py":
        (foreign / "leaderboards.py").unlink()
    monkeypatch.setenv("PYTHONPATH", str(foreign))
    code, out, error = installed(f"bench ls {name}")
    assert (code, out) == (2, "") and error.count("\n") == 1
    package = place.removesuffix(".py")
    assert error.startswith(f"bench: {foreign / place} hides the package '{package}' of")
    assert "rename yours" in error and "run from another folder" in error


def test_processes_that_are_started_take_our_own_packages(installed: Any, foreign: Any) -> None:
    code, out, error = installed(
        "bench pretrain digits_tiny --gpus 1 --device cpu --data nowhere --out run"
    )
    assert code not in (0, None) and "somebody else's module" not in out + error
    assert "there is no list or folder 'nowhere'" in error, error


@pytest.fixture
def newcomer(tmp_path: Path, video_set: Path) -> Any:
    """A folder with what the commands of the guide name, and nothing else."""
    shutil.copytree(video_set, tmp_path / "my_videos")
    shutil.copytree(video_set, tmp_path / "my_gestures" / "videos")
    files = sorted((tmp_path / "my_gestures" / "videos").rglob("*.mp4"))
    rows = [(file.parent.parent.name, file.parent.name, file) for file in files]
    lines = [
        f"{file.relative_to(tmp_path / 'my_gestures' / 'videos')},{label},{split}"
        for split, label, file in rows
    ]
    table = "\n".join(["path,label,split", *lines]) + "\n"
    (tmp_path / "my_gestures" / "clips.csv").write_text(table)
    import torch
    from torchvision.models import resnet18

    torch.save(resnet18().state_dict(), tmp_path / "resnet18.pth")
    return tmp_path


def test_every_file_of_the_guide_runs_as_printed_with_the_installed_wheel(
    installed: Any, newcomer: Any
) -> None:
    kinds = {code.split("\n@")[1].split("\n")[0] for _, code, _ in EXAMPLES if "\n@" in code}
    assert kinds == {"encoder", "task", "probe", "board", "recipe"}
    for name, code, _ in EXAMPLES:
        (newcomer / name).write_text(code)
    for name, _, command in EXAMPLES:
        code, out, error = installed(command)
        assert code in (0, 3), f"{name}: {command}\n{out}{error}"
        assert out.strip(), name
    with (newcomer / "home" / "tables" / "small_table.csv").open() as file:
        rows = {row["encoder"]: row for row in csv.DictReader(file)}
    for encoder, probe in (("my_resnet", "knn"), ("random:vit_digits", "prototype")):
        assert rows[encoder][f"folder/{probe}@honest@1"], rows
