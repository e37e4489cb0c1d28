"""Only the command line lets code run: no record, TOML file, bundle or folder can."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.config import read_config
from bench.errors import UsageError
from bench.records.record import RecordError, seal_of
from bench.records.record_files import read_record
from tests.commands import Bench, Records

# Every run of its code adds a letter to `canary`.
CODE = """
from pathlib import Path
with (Path(__file__).parent / "canary").open("a") as file:
    file.write("x")
import torch
from bench import Encoder, EncoderSpec, Tokens
from bench.encoders.networks.adapt import FrameByFrame

class Grey(torch.nn.Module):
    def forward(self, images, *, keep=None, layers=None):
        tokens = torch.nn.functional.avg_pool2d(images, 4).flatten(2).transpose(1, 2)
        return Tokens(layers=(tokens,), grid=(1, images.shape[2] // 4, images.shape[3] // 4))

def grey():
    spec = EncoderSpec(name="grey", width=3, depth=1, num_heads=1, num_frames=1, image_size=8,
                       patch_size=4, tubelet_size=1, source="mine", takes="image")
    return Encoder(FrameByFrame(Grey(), spec), spec)
"""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with code that a file could name, and a plugin of its own."""
    (tmp_path / "evil_lab.py").write_text(CODE)
    (tmp_path / "hubconf.py").write_text(CODE.replace("def grey", "def tiny"))
    (tmp_path / "evil-1.0.dist-info").mkdir()
    (tmp_path / "evil-1.0.dist-info" / "METADATA").write_text("Name: evil\nVersion: 1.0\n")
    (tmp_path / "evil-1.0.dist-info" / "entry_points.txt").write_text(
        "[frozenbench]\nevil = evil_lab\n"
    )
    for number in range(12):
        split, label = ("train", "val")[number % 3 == 2], ("dark", "light")[number % 2]
        path = tmp_path / "stills" / split / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        level = 30 + 170 * (number % 2) + number
        Image.fromarray(np.full((8, 8, 3), level, dtype=np.uint8)).save(path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("evil_lab", "hubconf"):
        sys.modules.pop(name, None)


@pytest.fixture
def record(hostile: Path, records: Records) -> Path:
    """The record of a run whose encoder was typed, with its code forgotten again."""
    [made] = records(*options(hostile), "-m", "py:evil_lab:grey")
    forget(hostile)
    return hostile / "home" / "records" / f"{made['id']}.json"


def options(root: Path) -> tuple[Any, ...]:
    choice = ("-t", "folder", "-p", "knn", "--set", "probe.k=1", "--set", "limit=8")
    return (*choice, "--data", root / "stills", "--workers", "0")


def forget(root: Path) -> None:
    (root / "canary").unlink()
    sys.modules.pop("evil_lab")


def toml(root: Path, encoder: str, table: str = "") -> Path:
    path = root / "config.toml"
    path.write_text(f'encoder = {encoder}\ntask = "folder"\nprobe = "knn"\n{table}')
    return path


NAMES = (
    ('"py:evil_lab:grey"', ""),
    ('["random:vit_digits", "py:evil_lab:grey"]', ""),
    ('"py"', '[encoder_options]\nmodel = "evil_lab:grey"\n'),
    ('"torchhub:.:tiny"', ""),
    ('"torchhub:.:tiny"', "[encoder_options]\ntrust_remote_code = true\n"),
    ('"torchhub"', '[encoder_options.torchhub]\nmodel = ".:tiny"\ntrust_remote_code = "yes"\n'),
    ('"random:vit_digits"', '[encoder_options]\n"torchhub.trust_remote_code" = true\n'),
)


@pytest.mark.parametrize(("encoder", "table"), NAMES)
@pytest.mark.parametrize("command", ["run", "features", "lowshot"])
def test_a_toml_file_cannot_name_code(
    command: str, encoder: str, table: str, bench: Bench, hostile: Path
) -> None:
    code, _, err = bench(command, toml(hostile, encoder, table), "--data", hostile / "stills")
    assert code == 2 and "--allow-code" in err and "config.toml" in err
    assert not (hostile / "canary").exists()


def test_consent_in_a_toml_file_is_refused_whatever_was_typed(bench: Bench, hostile: Path) -> None:
    path = toml(hostile, *NAMES[4])
    code, _, err = bench("run", path, "--allow-code", *options(hostile))
    assert code == 2 and "only the command line" in err and not (hostile / "canary").exists()
    with pytest.raises(UsageError, match="--allow-code"):  # from Python as well
        read_config(toml(hostile, *NAMES[0]))


def test_typed_consent_runs_what_the_file_names(bench: Bench, hostile: Path) -> None:
    words = (toml(hostile, NAMES[0][0]), *options(hostile))
    assert bench("run", *words, "--allow-code")[0] in (0, 3)
    assert (hostile / "canary").read_text() == "x"
    forget(hostile)
    words = (toml(hostile, NAMES[3][0]), *options(hostile))
    code, _, err = bench("run", *words, "--allow-code")
    assert code == 2 and "--trust-remote-code" in err and not (hostile / "canary").exists()
    assert bench("run", *words, "--allow-code", "--trust-remote-code")[0] in (0, 3)


def test_an_encoder_that_is_typed_replaces_the_one_of_the_file(bench: Bench, hostile: Path) -> None:
    words = (toml(hostile, NAMES[0][0]), *options(hostile))
    code, _, err = bench("run", *words, "-m", "random:vit_digits")
    assert code in (0, 3), err
    assert not (hostile / "canary").exists()


def test_a_record_runs_again_only_with_consent(bench: Bench, hostile: Path, record: Path) -> None:
    where = ("--data", hostile / "stills", "--home", hostile / "home")
    for words in (("replay", record), ("run", record), ("replay", record.stem)):
        code, _, err = bench(*words, *where)
        assert code == 2 and "--allow-code" in err, err
    assert not (hostile / "canary").exists()
    code, _, err = bench("replay", record, *where, "--allow-code", "--workers", "0")
    assert code == 0, err
    assert (hostile / "canary").exists()


def test_commands_that_read_hostile_files_run_nothing(
    bench: Bench, hostile: Path, record: Path
) -> None:
    home, other = ("--home", hostile / "home"), hostile / "home" / "records" / "other.json"
    bundled = bench("submit", record, "--out", hostile / "bundles", "--include-suspect", home=False)
    assert bundled[0] == 0, bundled
    for words in (
        ("verify", *home), ("board", "runs", *home), ("explain", record, record, *home),
        ("compare", record, record, *home), ("show", "knn"), ("ls", "encoders"),
        ("card", record, *home), ("verify", hostile / "bundles", *home),
    ):  # fmt: skip
        bench(*words, home=False)
        assert not (hostile / "canary").exists(), words
    fields = json.loads(record.read_text())
    fields["encoder"]["name"] = "{0.__class__}${jndi:x}__import__('evil_lab')!!python/name:evil_lab"
    other.write_text(json.dumps({**fields, "seal": seal_of(fields)}))
    for words in (("verify", *home), ("board", "runs", *home)):
        bench(*words, home=False)
        assert not (hostile / "canary").exists(), words


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.parquet", "a/../../b", "..\\x", ""])
def test_a_record_cannot_name_files_elsewhere(path: str, record: Path) -> None:
    fields = json.loads(record.read_text())
    fields["artifacts"]["predictions"]["path"] = path
    record.write_text(json.dumps({**fields, "seal": seal_of(fields)}))
    with pytest.raises(RecordError, match="not the name of a file"):
        read_record(record)


def test_a_link_is_not_followed_into_a_bundle(
    bench: Bench, hostile: Path, records: Records
) -> None:
    [made] = records(*options(hostile)[6:], "-t", "folder", "-p", "linear", "-m",
                     "random:vit_digits", "--set", "probe.epochs=1")  # fmt: skip
    [probe] = (hostile / "home" / "records").glob("*-probe")
    (hostile / "secret").write_text("private key")
    (probe / "notes").symlink_to(hostile / "secret")
    code, _, err = bench(
        "submit", made["id"], "--home", hostile / "home", "--out", hostile / "out", "--with-probe",
        "--include-suspect",
    )  # fmt: skip
    assert code != 0 and "is a link" in err, err
    assert not list((hostile / "out").rglob("notes"))


def test_processes_import_nothing_from_the_working_directory(hostile: Path) -> None:
    for name in ("multiprocessing", "json", "random", "struct", "pickle", "numpy", "torch", "av"):
        (hostile / f"{name}.py").write_text("open('canary', 'a').write(__name__)")
    # As the installed command starts: without the working directory in front.
    start = "import sys; del sys.path[0]; from bench.cli.main import main; main(sys.argv[1:])"
    words = ("check", "folder", "--data", "stills", "--home", "home", "--workers", "2")
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", start, *words], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert not (hostile / "canary").exists()
