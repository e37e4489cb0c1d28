"""Float32 arithmetic as IEEE 754 defines it, whatever the process or its environment ask for.

Libraries may multiply float32 numbers as TF32 (10 bits of mantissa) or bfloat16 (7): cuDNN does so
by default, cuBLAS and oneDNN at the request of the user or of an environment variable.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from bench.errors import UsageError

OPERATIONS = [(library, op) for library in ("cuda", "mkldnn") for op in ("matmul", "conv", "rnn")]
# oneDNN reads these itself, and torch cannot overrule them.
ONEDNN_VARIABLES = ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")
EXACT = "ieee"


@contextmanager
def true_fp32() -> Iterator[None]:
    """Compute float32 products, convolutions and recurrences as such, on CPUs and GPUs.

    The switches are those of the process; they are set back at the end.
    """
    before = fp32_switches()
    _set(dict.fromkeys(before, EXACT))
    # Torch has older switches next to these and refuses to read one that contradicts them.
    products = torch.get_float32_matmul_precision()
    try:
        convolutions = torch._C._get_cudnn_allow_tf32()
    except RuntimeError:
        convolutions = True
    _set_older("highest", False)
    _set(dict.fromkeys(before, EXACT))
    try:
        yield
    finally:
        _set_older(products, convolutions)
        _set(before)


def fp32_switches() -> dict[tuple[str, str], str]:
    """Return torch's float32 precision (`ieee`, `tf32`, `bf16`, `none`) by library and operation.

    `none` is the library's own default.
    """
    return {one: torch._C._get_fp32_precision_getter(*one) for one in OPERATIONS}


def require_exact_onednn() -> None:
    """Raise `UsageError` if an environment variable makes oneDNN round float32 on CPUs."""
    for name in ONEDNN_VARIABLES:
        if os.environ.get(name, "").upper() not in ("", "STRICT"):
            raise UsageError(
                f"the environment variable {name}={os.environ[name]} lets float32 convolutions and"
                f" products on this CPU be rounded, so features would differ; run: unset {name}"
            )


def _set(values: Mapping[tuple[str, str], str]) -> None:
    for one, precision in values.items():
        torch._C._set_fp32_precision_setter(*one, precision)


def _set_older(products: str, convolutions: bool) -> None:
    torch.set_float32_matmul_precision(products)
    torch._C._set_cudnn_allow_tf32(convolutions)
