"""Small trees of video data sets: golden annotation files, or lines, and files without content."""

import shutil
from pathlib import Path

from bench.data.discover.folder_scan import Tree, scan

FORMATS = Path(__file__).parent.parent / "fixtures" / "formats"


def plant(root: Path, *files: str) -> Path:
    """Make empty files; enough where nothing is decoded."""
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def copy(golden: str, root: Path) -> Path:
    """Copy a golden file or folder below `root` and return its new path."""
    source, target = FORMATS / golden, root / Path(golden).name
    root.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        return Path(shutil.copytree(source, target))
    return Path(shutil.copy(source, target))


def write(path: Path, content: str) -> Path:
    """Write a text as it stands, line ends included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())
    return path


def look(root: Path) -> Tree:
    """Scan a folder of videos."""
    return scan(root, "video")
