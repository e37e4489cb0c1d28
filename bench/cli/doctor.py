"""What `bench doctor` checks: is this machine ready to evaluate, and how to fix what is not."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config import home_folder
from bench.files import parse_json
from bench.records.environment import git_state, package_version

REQUIRED = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "huggingface-hub",
    "safetensors",
    "pydantic",
    "pillow",
    "typer",
    "rich",
    "tensorboard",
    "matplotlib",
)
OPTIONAL = {"submitit": "bench pretrain --slurm"}
CODECS = {"h264": "Kinetics, AVA", "vp9": "Something-Something v2", "mpeg4": "older clips"}
NEEDED_SPACE_GB = 20
PROBE_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One check: whether it passed, what was found, and how to fix it."""

    name: str
    ok: bool
    value: str
    fix: str = ""


def examine(home: Path | None = None) -> list[Advice]:
    """Check versions, GPU, video decoders and `home`; change and download nothing.

    `home` is the folder of features and records (default: that of `bench.config.home_folder`).
    """
    return [
        *_packages(),
        _checkout(),
        _gpu(),
        _decoder("decord", optional=True),
        _decoder("av", optional=False),
        _decoder("torchcodec", optional=True),
        _codecs(),
        _home(home_folder(home)),
    ]


def _packages() -> list[Advice]:
    version = package_version("frozenbench") or "runs from source, not installed"
    found = [
        Advice(name="python", ok=True, value=platform.python_version()),
        Advice(name="frozenbench", ok=True, value=version),
    ]
    for name, use in {**dict.fromkeys(REQUIRED, ""), **OPTIONAL}.items():
        installed = package_version(name)
        value = installed or ("not installed" + (f" (optional: {use})" if use else ""))
        fix = "" if installed else f"pip install {name}"
        found.append(Advice(name=name, ok=bool(installed or use), value=value, fix=fix))
    return found


def _checkout() -> Advice:
    state = git_state(Path(__file__).resolve().parents[2])
    if state["git_commit"] is None:
        return Advice(name="code", ok=True, value="an installed package, not a checkout")
    commit = str(state["git_commit"])[:12]
    if not state["git_dirty"]:
        return Advice(name="code", ok=True, value=f"clean checkout at {commit}")
    value = f"checkout at {commit} with uncommitted changes; records will say so"
    return Advice(name="code", ok=False, value=value, fix="git commit")


def _gpu() -> Advice:
    """Ask a child process: a CUDA context would keep GPU memory until this process ends."""
    answer = _ask(
        "import json, torch\n"
        "names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]\n"
        "sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(len(names))]\n"
        "print(json.dumps([torch.version.cuda, names, sizes]))"
    )
    if isinstance(answer, str):
        return Advice(name="gpu", ok=False, value=answer, fix="pip install --force-reinstall torch")
    built_for, names, sizes = answer
    if names:
        cards = ", ".join(f"{n} ({s / 2**30:.0f} GiB)" for n, s in zip(names, sizes, strict=True))
        return Advice(name="gpu", ok=True, value=f"{cards}, CUDA {built_for}")
    if built_for is None:
        value = "none in use: this torch is built for the CPU only"
        fix = "install torch for your CUDA version, see https://pytorch.org/get-started"
        return Advice(name="gpu", ok=False, value=value, fix=fix)
    value = f"torch (built for CUDA {built_for}) finds none; large video encoders will be slow"
    return Advice(name="gpu", ok=False, value=value, fix="nvidia-smi (is a driver loaded?)")


def _decoder(name: str, *, optional: bool) -> Advice:
    """Import a decoder in a child process: a bad build can take the whole process down."""
    title, installed = f"decoder {name}", package_version(name)
    if installed is None:
        value = "not installed (optional)" if optional else "not installed"
        return Advice(name=title, ok=optional, value=value, fix=f"pip install {name}")
    answer = _ask(f"import json, {name}\nprint(json.dumps([]))")
    if isinstance(answer, str):
        value = f"{installed} is installed but cannot be imported: {answer}"
        fix = f"pip install --force-reinstall {name}"
        return Advice(name=title, ok=False, value=value, fix=fix)
    return Advice(name=title, ok=True, value=installed)


def _codecs() -> Advice:
    missing = answer = _ask("import av, json\nprint(json.dumps(sorted(av.codecs_available)))")
    if not isinstance(answer, str):
        missing = ", ".join(f"{name} ({use})" for name, use in CODECS.items() if name not in answer)
    if missing:
        fix = "pip install --force-reinstall --only-binary av av"
        return Advice(name="codecs", ok=False, value=f"PyAV cannot read: {missing}", fix=fix)
    return Advice(name="codecs", ok=True, value=f"PyAV reads {', '.join(CODECS)}")


def _home(place: Path) -> Advice:
    """Try the nearest existing folder: the check must not create the home."""
    nearest = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        value = f"{place} cannot be written: {error.strerror}"
        return Advice(name="home", ok=False, value=value, fix="export BENCH_HOME=/your/folder")
    free = shutil.disk_usage(nearest).free / 1e9
    if free < NEEDED_SPACE_GB:
        value = f"{place} has {free:.1f} GB free; stored features take tens of GB"
        return Advice(name="home", ok=False, value=value, fix="export BENCH_HOME=/a/larger/disk")
    return Advice(name="home", ok=True, value=f"{place}, {free:.0f} GB free")


def _ask(program: str) -> list[Any] | str:
    """Run a program that prints one JSON list; return the list, or the reason for its failure."""
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", program],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_SECONDS} s"
    if answer.returncode < 0:
        return f"the process was killed by signal {-answer.returncode}"
    if answer.returncode:
        return (answer.stderr.strip().splitlines() or ["no message"])[-1]
    found: list[Any] = parse_json(answer.stdout.strip().splitlines()[-1])
    return found
