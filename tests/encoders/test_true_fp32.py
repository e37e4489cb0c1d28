"""Float32 is computed as float32, whatever switch or variable asks for less."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from os import environ
from typing import Any

import pytest
import torch

from bench.encoders.encoder import open_encoder
from bench.encoders.functional_check import functional_check
from bench.encoders.true_fp32 import fp32_switches
from bench.errors import UsageError
from bench.features.encode import encode_clips, resolve_precision
from bench.records.environment import stamp
from bench.types import Head
from probes.knn import FittedKnn

CPU = torch.device("cpu")
# Each is set by hand on top of those before it.
SWITCHES = (
    "",
    'torch.set_float32_matmul_precision("high")',
    'torch.set_float32_matmul_precision("medium")',
    'torch.backends.cuda.matmul.fp32_precision = "ieee"',  # contradicts the older one
    "torch.backends.cuda.matmul.allow_tf32 = True",
    'torch.backends.cuda.matmul.fp32_precision = "tf32"',
    "torch.backends.cudnn.allow_tf32 = False",
    'torch.backends.cudnn.conv.fp32_precision = "tf32"',
    'torch.backends.mkldnn.matmul.fp32_precision = "bf16"',
    'torch.backends.fp32_precision = "tf32"',
    'torch.backends.fp32_precision = "bf16"',
)


def switches() -> dict[str, str]:
    return {".".join(one): how for one, how in fp32_switches().items()}


def measured() -> dict[str, Any]:
    """Encode and score with a probe; what a plain product gives is beside it."""
    encoder = open_encoder("digits_tiny", {})
    seen: dict[str, str] = {}
    encoder.network.register_forward_pre_hook(lambda *_: seen.update(switches()))
    before, generator, spec = switches(), torch.Generator().manual_seed(0), encoder.spec
    shape = (2, 3, spec.num_frames, spec.image_size, spec.image_size)
    pixels = torch.randn(shape, generator=generator)
    tokens = encode_clips(encoder, pixels, CPU, resolve_precision("auto", CPU)).last
    keys = torch.nn.functional.normalize(torch.randn(300, 96, generator=generator), dim=-1)
    knn = FittedKnn(
        heads=(Head(settings={"k": 9}),), log={}, mean=torch.zeros(96).double(), keys=keys,
        labels=torch.arange(300) % 7, num_classes=7, temperature=0.07,
    )  # fmt: skip
    votes = knn.probabilities(torch.randn(40, 1, 96, generator=generator))
    found = {
        "tokens": digest(tokens),
        "votes": digest(votes),
        "check": functional_check(encoder).sha256,
        "stamp": stamp()["float32"],
        "seen": seen,
    }
    return {**found, "restored": switches() == before, "plain": digest(keys @ keys.T)}


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


PROGRAM = f"""
import json, torch
from tests.encoders.test_true_fp32 import SWITCHES, measured
torch.set_num_threads({torch.get_num_threads()})
for switch in SWITCHES:
    exec(switch)
    print(json.dumps(measured()))
"""


def test_no_switch_or_variable_reaches_encoders_and_probes() -> None:
    as_it_is = measured()
    made = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**environ, "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    found = dict(zip(SWITCHES, map(json.loads, made.stdout.splitlines()), strict=True))
    plain = [one.pop("plain") for one in (as_it_is, *found.values())]
    assert set(as_it_is["seen"].values()) == {"ieee"} and len(as_it_is["seen"]) == 6
    assert as_it_is["stamp"] == "ieee" and as_it_is["restored"]
    assert found == dict.fromkeys(SWITCHES, as_it_is)
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert len(set(plain)) > 1, "no switch changed anything, so nothing was compared"


@pytest.mark.parametrize("name", ["ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"])
def test_a_variable_that_torch_cannot_overrule_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "BF16")
    with pytest.raises(UsageError, match=f"{name}=BF16 lets float32 .* run: unset {name}$"):
        resolve_precision("auto", CPU)
    monkeypatch.setenv(name, "strict")
    assert resolve_precision("auto", CPU) == "fp32"
