"""The arrows of the architecture: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOOR = ROOT / "bench" / "__init__.py"  # `import bench` opens to everything that is public
ALLOWED = {
    "bench": {"bench"},
    "tasks": {"tasks", "bench"},
    "probes": {"probes", "bench"},
    "leaderboards": {"leaderboards", "bench"},
}
# Inside bench, lower layers never import higher ones.
LAYERS = [
    {"errors", "types", "files", "progress", "differences"},
    {"registry", "contracts", "schedules", "counters", "distributed"},
    {"config"},
    {"data", "encoders", "metrics"},
    {"features"},
    {"environment", "protocols", "selection", "head_order", "probe_files", "settle"},
    {"record_names"},
    {"run_id", "result_metrics", "result", "record_versions", "records", "frame_record"},
    {"record_rows", "record_intervals"},
    {"comparable", "compared_rows"},
    {"compare"},
    {"findings", "verify_claims", "verify_selection", "verify_protocol", "verify_record"},
    {"predicted_rows"},
    {"recounted"},
    {"verify_clips"},
    {"verify_boxes", "verify_controls", "verify_cache"},
    {"verify"},
    {"local_paths"},
    {"bundles"},
    {"verify_tree"},
    {"explain"},
    {"submission", "hub_card"},
    {"hub_merge"},
    {"hub_push"},
    {"stage", "score", "preflight", "publish", "doctor", "console", "published", "fill_plan"},
    {"record_parts", "added"},
    {"feeds", "encode", "study_feeds"},
    {"assemble"},
    {"pretrain"},
    {"demo"},
    {"run"},
    {"track", "lowshot"},
    {"fill"},
    {"array_probe", "replay"},
    {"cli_boards"},
    {"cli_runs", "cli_data", "cli_pretrain", "cli_track", "cli_lowshot", "slurm", "launch"},
    {"cli_score", "cli_records", "cli_compare", "cli_verify", "cli_publish", "cli_published"},
    {"cli"},
    {"__main__"},
]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide the arrow"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_along_the_arrows(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in set(files) - {DOOR}:
        tops = {name.split(".")[0] for name in imports(path)} & set(ALLOWED)
        assert tops <= ALLOWED[package], f"{path} imports {tops - ALLOWED[package]}"


def test_lower_layers_of_bench_do_not_import_higher_ones() -> None:
    rank = {name: level for level, names in enumerate(LAYERS) for name in names}
    for path in (ROOT / "bench").rglob("*.py"):
        own = path.relative_to(ROOT / "bench").parts[0].removesuffix(".py")
        assert own in rank or own == "__init__", f"{path} has no layer"
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "bench" and len(parts) > 1 and own in rank:
                typing_only = own == "types" and parts[1] in ("result", "data")
                assert rank[parts[1]] <= rank[own] or typing_only, f"{path} imports {name}"


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
