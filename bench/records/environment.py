"""The environment stamp of a record: versions, code state and machine, as flat JSON facts."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

if TYPE_CHECKING:
    import torch

PACKAGES = (
    "frozenbench", "torch", "torchvision", "timm", "numpy", "decord", "av", "torchcodec",
    "scikit-learn", "pillow",
)  # fmt: skip


def stamp(device: torch.device | str = "cpu") -> dict[str, JsonValue]:
    """Return what is needed to rebuild the environment of a run on `device`.

    Packages that are not installed, and git facts outside a checkout, are None.
    """
    return {
        **{name: package_version(name) for name in PACKAGES},
        "libav": libav_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device_name(device),
        "cpus": os.cpu_count(),
        "float32": float32(),
        **git_state(Path(__file__).resolve().parents[2]),
    }


def package_version(name: str) -> str | None:
    """Return the installed version of a distribution, None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def libav_versions() -> str | None:
    """Return the libav libraries that PyAV is linked with, such as `libavcodec 62.11.100, ...`."""
    try:
        import av  # loads shared libraries
    except ImportError:
        return None
    libraries = av.library_versions
    return ", ".join(f"{name} {'.'.join(map(str, libraries[name]))}" for name in sorted(libraries))


def device_name(device: torch.device | str) -> str:
    """Return the name of the accelerator, or of the processor for `cpu`."""
    if str(device).startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    if str(device) == "cpu":
        return _processor()
    return str(device)


def float32() -> str:
    """Return how encoders and probes compute with float32: `ieee`, or each switch that is not."""
    from bench.encoders.true_fp32 import EXACT, fp32_switches, true_fp32  # loads torch

    with true_fp32():
        found = {".".join(one): how for one, how in fp32_switches().items() if how != EXACT}
    return ", ".join(f"{name} {how}" for name, how in found.items()) or EXACT


def git_state(root: Path) -> dict[str, JsonValue]:
    """Return `git_commit` and `git_dirty` (changed or untracked files) of the checkout at `root`.

    Both are None if `root` is not a checkout (an installed package) or git is missing. A repository
    in a parent folder is not that of this code.
    """
    git = shutil.which("git")
    commit = status = None
    if git and (root / ".git").exists():
        commit = _git(git, root, "rev-parse", "HEAD")
        status = _git(git, root, "status", "--porcelain")
    return {"git_commit": commit, "git_dirty": None if status is None else bool(status)}


def _git(git: str, root: Path, *words: str) -> str | None:
    """Return the output of git, None if it fails (no commit yet, or another user's checkout)."""
    answer = subprocess.run([git, "-C", str(root), *words], capture_output=True, text=True)
    return answer.stdout.strip() if answer.returncode == 0 else None


def _processor() -> str:
    """Return the model name of the processor; on Linux only /proc has it."""
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
