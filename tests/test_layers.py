"""The arrows of the architecture: a room imports only rooms on floors below its own."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("bench", "tasks", "probes", "leaderboards")
DOOR = "bench.__init__"  # opens to everything that is public
FLOORS = [  # from the top down; docs/architecture.md shows the same
    "cli",
    "studies leaderboards",
    "publish",
    "evaluate verify compare pretrain",
    "features records preflight tasks probes",
    "encoders metrics",
    "data launch config protocols contracts",
    "types registry files",
    "errors schedules",
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}


def room(module: str) -> str:
    """The room of a dotted name; the door `bench` itself belongs to the command line."""
    parts = [part for part in module.split(".") if part not in ("__init__", "__main__")]
    return parts[0] if parts[0] != "bench" else (*parts, "cli")[1]


def arrows() -> Iterator[tuple[str, str]]:
    """(importing module, imported name) of every import inside the product."""
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((module, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}: relative imports hide the arrow"
                yield from ((module, f"{node.module}.{alias.name}") for alias in node.names)


def test_rooms_import_only_rooms_below_them() -> None:
    for module, name in arrows():
        if name.split(".")[0] in PACKAGES and room(name) != room(module):
            assert FLOOR[room(name)] > FLOOR[room(module)], f"{module} imports {name}"


def test_the_hub_and_the_packages_around_it_do_not_know_each_other() -> None:
    """`bench` names no extension, and tasks, probes and leaderboards meet only through it."""
    for module, name in arrows():
        top = name.split(".")[0]
        is_allowed = top not in PACKAGES or top in ("bench", module.split(".")[0])
        assert is_allowed or module == DOOR, f"{module} imports {name}"


def test_help_answers_without_importing_torch() -> None:
    code = "import sys, bench.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_the_packages_does_no_work(tmp_path: Path) -> None:
    code = (
        "import os, random, numpy, torch, torchvision; s = random.getstate(); e = dict(os.environ);"
        "t = torch.random.get_rng_state(); from bench import registry; registry.discover();"
        "assert random.getstate() == s and dict(os.environ) == e;"
        "assert torch.equal(torch.random.get_rng_state(), t)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert not list(tmp_path.iterdir())
