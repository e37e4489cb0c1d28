"""The aims of the house, counted: rooms, files, names that occur twice, arguments of functions."""

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from tests.test_layers import FLOORS, PACKAGES, ROOT, arrows, room

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
MOST_ROOMS, MOST_FILES, MOST_FLOORS, MOST_ARGUMENTS = 14, 8, 9, 8
REGISTERED = {"encoder", "task", "probe", "board", "paper", "recipe", "protocol", "published"}


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def definitions() -> Iterator[tuple[Path, ast.ClassDef | ast.FunctionDef]]:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                yield path, node


def twice(names: Iterator[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def test_few_rooms_few_files_few_floors() -> None:
    bench = ROOT / "bench"
    rooms = [folder for folder in bench.iterdir() if list(folder.glob("*.py"))]
    files = [path for path in bench.glob("*.py") if not path.stem.startswith("__")]
    assert len(rooms) <= MOST_ROOMS and len(files) <= MOST_FILES and len(FLOORS) <= MOST_FLOORS


def test_rooms_import_each_other_in_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module, name in arrows():
        if name.split(".")[0] in PACKAGES and room(name) != room(module):
            graph.setdefault(room(module), set()).add(room(name))
    assert list(TopologicalSorter(graph).static_order())  # CycleError otherwise


def test_no_file_name_and_no_class_name_occurs_twice() -> None:
    assert not twice(path.name for path in sources() if path.name != "__init__.py")
    assert not twice(node.name for _, node in definitions() if isinstance(node, ast.ClassDef))


def test_functions_take_at_most_eight_arguments() -> None:
    """Options of registered functions and of commands aside: those are what a user may set."""
    for path, node in definitions():
        if isinstance(node, ast.ClassDef) or path.parent == ROOT / "bench" / "cli":
            continue
        marks = {ast.unparse(mark).split("(")[0].split(".")[-1] for mark in node.decorator_list}
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        names = [argument.arg for argument in given if argument.arg not in ("self", "cls")]
        assert len(names) <= MOST_ARGUMENTS or marks & REGISTERED, f"{path}: {node.name}"


def test_architecture_shows_every_room_and_the_floors_as_they_are() -> None:
    drawn = [line for line in ARCHITECTURE.splitlines() if line[:2].strip().isdigit()]
    assert len(drawn) == len(FLOORS)
    for rooms, line in zip(FLOORS, drawn, strict=True):
        assert set(rooms.split()) <= set(line.split()), line
    described = {folder.name for folder in (ROOT / "bench").iterdir() if list(folder.glob("*.py"))}
    for name in [*(f"bench/{folder}" for folder in described), "tasks", "probes", "leaderboards"]:
        assert f"| `{name}` |" in ARCHITECTURE, name


def test_architecture_names_files_and_words_that_are_there() -> None:
    for row in ARCHITECTURE.splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        paths = [part for cell in cells for part in cell.split("`")[1::2] if part.endswith(".py")]
        for path in (path for path in paths if "/" in path):
            assert list(ROOT.glob(path)), f"docs/architecture.md: there is no {path}"
        if len(cells) == 3 and paths and cells[1].strip("`") == paths[0]:  # a word and its file
            text = (ROOT / paths[0]).read_text()
            for word in cells[0].split("`")[1::2]:
                assert f"class {word}" in text, f"{word} is not in {paths[0]}"
