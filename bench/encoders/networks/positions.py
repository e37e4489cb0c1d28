"""Fixed sin-cos position tables for grids of 1, 2 and 3 axes (V-JEPA, arXiv 2404.08471).

A code of width d at position p is `[sin(p*w_0) .. sin(p*w_last), cos(p*w_0) .. cos(p*w_last)]` with
`w_k = 10000 ** (-k / (d / 2))`. Codes are computed in float64 and rounded once, so tables equal
those stored in checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from bench.errors import UsageError

FloatArray = npt.NDArray[np.float64]


def sincos_1d(width: int, length: int) -> torch.Tensor:
    """Return the codes of positions 0 .. length-1, float32 `[length, width]`.

    Raises:
        UsageError: the width is odd.
    """
    return _rounded(_codes(width, length))


def sincos_2d(width: int, grid: tuple[int, int], *, column_first: bool = False) -> torch.Tensor:
    """Return the table of an (h, w) grid, float32 `[h*w, width]`, half row and half column code.

    V-JEPA puts the row (y) code first, I-JEPA the column (x) code (`column_first`).

    Raises:
        UsageError: the width is not a multiple of 4.
    """
    if width % 4:
        raise UsageError(f"a 2-D sin-cos table needs a width divisible by 4, not {width}.")
    rows, columns = _axes(grid, (width // 2, width // 2))
    return _rounded(np.hstack([columns, rows] if column_first else [rows, columns]))


def sincos_3d(
    width: int, grid: tuple[int, int, int], *, uniform_power: bool = True
) -> torch.Tensor:
    """Return the table of a (t, h, w) grid, float32 `[t*h*w, width]`, ordered time, row, column.

    With `uniform_power` (all released V-JEPA encoders) each axis gets `2*ceil(width/6)` channels
    and the result is cut to `width`; otherwise time gets a half, row and column a quarter each.

    Raises:
        UsageError: without `uniform_power`, the width is not a multiple of 8.
    """
    if not uniform_power and width % 8:
        raise UsageError(
            f"without uniform_power a 3-D table needs a width divisible by 8, not {width}."
        )
    per_axis = 2 * -(-width // 6)
    widths = (per_axis,) * 3 if uniform_power else (width // 2, width // 4, width // 4)
    return _rounded(np.hstack(_axes(grid, widths))[:, :width])


def sinusoid_1d(width: int, length: int) -> torch.Tensor:
    """Return VideoMAE's table of positions 0 .. length-1, float32 `[length, width]`.

    Tokens of a clip are numbered consecutively, and sine and cosine of a frequency are interleaved,
    not in two halves (arXiv 2203.12602, released code).

    Raises:
        UsageError: the width is odd.
    """
    halves = _codes(width, length).reshape(length, 2, width // 2)
    return _rounded(halves.transpose(0, 2, 1).reshape(length, width))


def sincos_time_column_row(width: int, grid: tuple[int, int, int]) -> torch.Tensor:
    """Return MVD's table of a (t, h, w) grid, float32 `[t*h*w, width]` (arXiv 2212.04500).

    A quarter of the channels encodes time; the rest is split between column and row, in this order.

    Raises:
        UsageError: the width is not a multiple of 16.
    """
    if width % 16:
        raise UsageError(f"MVD's position table needs a width divisible by 16, not {width}.")
    times, rows, columns = _axes(grid, (width // 4, width // 8 * 3, width // 8 * 3))
    return _rounded(np.hstack([times, columns, rows]))


def _axes(grid: Sequence[int], widths: Sequence[int]) -> list[FloatArray]:
    """Return, per axis of a grid, the codes of all positions in row-major order."""
    places = np.indices(grid).reshape(len(grid), -1)
    return [_codes(width, n)[at] for width, n, at in zip(widths, grid, places, strict=True)]


def _codes(width: int, length: int) -> FloatArray:
    if width % 2 or width < 2:
        raise UsageError(f"a sin-cos code needs an even width of at least 2, not {width}.")
    half = width // 2
    frequencies = 1.0 / 10000 ** (np.arange(half, dtype=np.float64) / half)
    angles = np.arange(length, dtype=np.float64)[:, None] * frequencies[None, :]
    return np.hstack([np.sin(angles), np.cos(angles)])


def _rounded(table: FloatArray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(table, dtype=np.float32))
