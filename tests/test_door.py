"""`import bench`, the one door for extensions and notebooks: light, complete and stable."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest

import bench

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = {"bench", "tasks", "probes", "leaderboards"}


def test_the_door_opens_without_torch_pandas_and_pydantic() -> None:
    code = (
        "import sys, bench;"
        "assert not {'torch', 'pandas', 'pydantic', 'numpy'} & {*sys.modules}, 'import bench';"
        "bench.ClipPlan, bench.Leaderboard, bench.task, bench.read_folder, bench.RunConfig;"
        "assert not {'torch', 'pandas', 'pydantic'} & {*sys.modules}, 'the words of a task'"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr


def test_a_name_is_the_thing_whichever_of_them_is_asked_for_first() -> None:
    code = f"import bench; names = {bench.__all__}; [getattr(bench, n) for n in reversed(names)]"
    subprocess.run([sys.executable, "-c", code], check=True)
    from bench.encoders.encoder import Encoder
    from bench.evaluate.evaluate import evaluate_runs

    assert bench.Encoder is Encoder and bench.evaluate_runs is evaluate_runs


@pytest.mark.parametrize("name", bench.__all__)
def test_every_public_name_leads_somewhere_and_is_no_room_of_the_house(name: str) -> None:
    assert getattr(bench, name) is not None and name in dir(bench)
    modules = {module.name for module in iter_modules(bench.__path__)}
    # A submodule that is imported becomes an attribute of its package and would hide the name.
    assert name == "registry" or name not in modules


def test_type_checkers_see_the_same_names() -> None:
    [block] = [n for n in ast.parse(Path(bench.__file__).read_text()).body if isinstance(n, ast.If)]
    imported = [
        alias.asname or alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted([*imported, "__version__"]) == sorted(bench.__all__)


def test_star_import_brings_every_name() -> None:
    held = {}
    exec("from bench import *", held)
    assert set(bench.__all__) <= held.keys()


@pytest.mark.parametrize(
    ("wrong", "near"), [("Encoderr", "Encoder"), ("read_foldr", "read_folder"), ("Taks", "Task")]
)
def test_an_unknown_name_is_told_the_closest_one(wrong: Any, near: Any) -> None:
    with pytest.raises(AttributeError, match=f"has no name '{wrong}'. Did you mean '{near}'?"):
        getattr(bench, wrong)
    with pytest.raises(ImportError, match=wrong):
        exec(f"from bench import {wrong}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_come_in_by_the_door_alone(page: str) -> None:
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in PACKAGES:
                assert node.module == "bench"
                assert {alias.name for alias in node.names} <= set(bench.__all__)
            if isinstance(node, ast.Import):
                tops = {alias.name for alias in node.names if alias.name.split(".")[0] in PACKAGES}
                assert tops <= {"bench"}
