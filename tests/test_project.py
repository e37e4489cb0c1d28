"""What the files around the code say agrees: versions, commands, the citation."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import bench as package

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def recipe_of(target: Any) -> Any:
    """The commands of a target of the Makefile, with the folder of its commands in place."""
    [lines] = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, flags=re.MULTILINE)
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in lines.splitlines()]


def test_version_is_the_same_everywhere(bench: Any) -> None:
    version = PROJECT["version"]
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    numbered = [heading for heading in headings if heading != "Unreleased"]
    assert headings == [*(["Unreleased"] if "Unreleased" in headings else []), *numbered]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", heading) for heading in numbered)
    assert numbered[0] == version == package.__version__
    assert read_yaml("CITATION.cff")["version"] == version
    code, out, err = bench("--version")
    assert (code, err) == (0, "") and out.splitlines()[0] == f"frozenbench {version}"


def test_both_commands_lead_to_one_place() -> None:
    assert PROJECT["scripts"].keys() == {"bench", PROJECT["name"]}
    assert len(set(PROJECT["scripts"].values())) == 1


def test_hooks_before_a_commit_run_what_make_lint_runs() -> None:
    [repo] = read_yaml(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    assert [hook["entry"] for hook in repo["hooks"]] == recipe_of("lint")
    for hook in repo["hooks"]:
        assert hook["language"] == "system" and hook["pass_filenames"] is False
        assert hook["id"] and hook["name"]


def test_the_workflow_runs_what_runs_here_on_a_python_that_is_supported() -> None:
    workflow = read_yaml(".github/workflows/ci.yml")
    assert workflow[True].keys() == {"push", "pull_request"}  # YAML 1.1 reads `on` as true
    [job] = workflow["jobs"].values()
    checkout, python, run = job["steps"]
    assert checkout["uses"].startswith("actions/checkout@")
    assert python["uses"].startswith("actions/setup-python@")
    assert python["with"]["python-version"] in SpecifierSet(PROJECT["requires-python"])
    assert run == {"run": "bash .ci/run"} and (ROOT / ".ci" / "run").is_file()
    used = re.findall(r"^make (\w+)", (ROOT / ".ci" / "run").read_text(), flags=re.MULTILINE)
    assert used == ["lint", "demo", "test"]
    assert set(used) <= set(re.findall(r"^([\w-]+):", MAKEFILE, flags=re.MULTILINE))


def test_the_citation_is_one_of_the_format_1_2_0() -> None:
    cited = read_yaml("CITATION.cff")
    # https://github.com/citation-file-format/citation-file-format, schema 1.2.0: these are needed.
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    known = {"abstract", "keywords", "license", "type", "version"}
    assert cited.keys() <= known | {"cff-version", "message", "title", "authors"}
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    assert cited["authors"] == [{"name": "The frozenbench developers"}]
    for key in ("title", "license", "keywords"):
        assert cited[key] == PROJECT["name" if key == "title" else key]


def test_tested_versions_are_among_those_that_are_asked_for() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    held = {name.replace("_", "-").casefold(): version for name, version in pinned.items()}
    for text in PROJECT["dependencies"]:
        wanted = Requirement(text)
        assert held[wanted.name.casefold()] in wanted.specifier, text


def test_the_guide_for_contributors_names_what_is_there() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    for target in re.findall(r"^make (\w+)", guide, flags=re.MULTILINE):
        assert recipe_of(target)
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", guide):
        assert (ROOT / link).exists(), link
    for path in re.findall(
        r"`((?:bench|tests|docs|tasks|probes|leaderboards|\.\w+)/[\w./]*)`", guide
    ):
        assert (ROOT / path).exists(), path
