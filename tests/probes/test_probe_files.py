from pathlib import Path

import pytest
import torch

from bench.errors import CheckpointError
from bench.evaluate.probe_files import FACTS, TENSORS, load_fitted, save_fitted
from bench.files import sealed, unsealed
from bench.types import Silent
from probes.attentive import attentive
from probes.attentive4 import attentive4
from probes.knn import knn
from probes.linear import linear
from probes.logistic import logistic
from probes.stack.fit import FittedStack
from tests.probes.sources import MemorySource, blobs

PROBES = {
    "attentive": lambda: attentive(num_heads=2, epochs=1, batch_size=8, lr=(1e-3, 1e-4)),
    "attentive4": lambda: attentive4(num_heads=2, epochs=1, batch_size=8, lr=(1e-3, 1e-4)),
    "linear": lambda: linear(epochs=1, batch_size=8, lr=(1e-3, 1e-4)),
    "logistic": lambda: logistic(C=(1.0, 0.5)),
    "knn": lambda: knn(k=(1, 3)),
}
GIVEN = {"classes": ["a", "b", "ü"], "protocol": "honest@1", "encoder": "ab" * 32}


def saved(folder: Path, name: str = "linear") -> tuple[FittedStack, MemorySource]:
    probe = PROBES[name]()
    tokens = 5 if probe.reads == "tokens" else 0
    source = blobs(rows=12, classes=3, width=4, seed=0, tokens=tokens)
    fitted = probe.fit(source, seed=0, device=torch.device("cpu"), progress=Silent())
    save_fitted(folder, name, probe.settings, fitted, GIVEN)
    return fitted, source


@pytest.mark.parametrize("name", sorted(PROBES))
def test_saved_probe_scores_as_before(tmp_path: Path, name: str) -> None:
    fitted, source = saved(tmp_path / "probe", name)
    again = load_fitted(tmp_path / "probe")
    assert torch.equal(again.fitted.probabilities(source.x), fitted.probabilities(source.x))
    assert list(again.fitted.heads) == list(fitted.heads)
    assert again.fitted.log == fitted.log
    assert again.probe.name == name and again.facts == GIVEN


def test_no_unfinished_file_is_left(tmp_path: Path) -> None:
    saved(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [FACTS, TENSORS]


def test_damaged_tensors_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    content = bytearray((tmp_path / TENSORS).read_bytes())
    content[-1] ^= 1
    (tmp_path / TENSORS).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"does not match the digest in probe\.json"):
        load_fitted(tmp_path)


def test_incomplete_folder_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / TENSORS).unlink()
    with pytest.raises(CheckpointError, match=r"probe\.safetensors is missing"):
        load_fitted(tmp_path)


def test_a_flipped_digit_of_a_setting_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    text = (tmp_path / FACTS).read_text()
    (tmp_path / FACTS).write_text(text.replace('"lr": 0.001', '"lr": 0.003', 1))
    with pytest.raises(CheckpointError, match=r"probe\.json is damaged .*seal differs"):
        load_fitted(tmp_path)


def test_other_format_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    content = unsealed((tmp_path / FACTS).read_bytes())
    (tmp_path / FACTS).write_bytes(sealed({**content, "format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        load_fitted(tmp_path)
