import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.encoders.networks.positions import sincos_1d, sincos_2d, sincos_3d
from bench.errors import UsageError
from tests.encoders.files import FIXTURES, content

GOLDEN = json.loads((FIXTURES / "pos_embed.json").read_text())


def table(name: str) -> torch.Tensor:
    if name.startswith("1d/"):
        return sincos_1d(1024, 64)
    if name.startswith("2d/"):
        return sincos_2d(1280, (16, 16), column_first="ijepa" in name)
    width, side, time = (int(n) for n in re.search(r"D(\d+)_g(\d+)_t(\d+)", name).groups())
    return sincos_3d(width, (time, side, side), uniform_power=name.endswith("True"))


@pytest.mark.parametrize("name", GOLDEN)
def test_table_equals_the_published_one(name: str) -> None:
    golden, made = GOLDEN[name], table(name)
    assert list(made.shape) == golden["shape"]
    assert made.dtype == torch.float32
    for row, column, value in golden["samples"]:
        assert made[row, column].item() == value
    flat = made.double().flatten()
    counts = torch.arange(1, flat.numel() + 1, dtype=torch.float64)
    assert flat.sum().item() == pytest.approx(golden["sum"], abs=1e-6)
    assert flat.abs().sum().item() == pytest.approx(golden["abs_sum"], abs=1e-6)
    assert (flat * flat).sum().item() == pytest.approx(golden["sq_sum"], abs=1e-6)
    assert (flat * counts.cos()).sum().item() == pytest.approx(golden["idx_dot"], abs=1e-6)


def test_table_equals_the_one_stored_in_a_checkpoint_to_the_bit() -> None:
    stored = content()["encoder"]["module.backbone.pos_embed"][0]
    assert torch.equal(sincos_3d(28, (4, 4, 4)), stored)


def test_codes_are_all_sines_then_all_cosines() -> None:
    # width 4 at position 1: frequencies 1 and 1/100
    expected = [math.sin(1), math.sin(0.01), math.cos(1), math.cos(0.01)]
    torch.testing.assert_close(sincos_1d(4, 2)[1], torch.tensor(expected), rtol=0, atol=1e-7)


def test_axes_of_a_non_square_grid_are_time_row_column() -> None:
    made = sincos_3d(12, (2, 3, 5))
    for index, (t, y, x) in {0: (0, 0, 0), 14: (0, 2, 4), 22: (1, 1, 2)}.items():
        parts = [sincos_1d(4, 5)[p] for p in (t, y, x)]
        assert torch.equal(made[index], torch.cat(parts))


def test_uniform_power_cuts_the_last_column_cosines() -> None:
    # 28 channels: three codes of 10 make 30, of which the last two are dropped
    made = sincos_3d(28, (2, 2, 2))
    assert torch.equal(made[1, 20:], sincos_1d(10, 2)[1, :8])


@pytest.mark.parametrize(
    "make",
    [
        lambda: sincos_1d(5, 3),
        lambda: sincos_2d(6, (2, 2)),
        lambda: sincos_3d(28, (2, 2, 2), uniform_power=False),
    ],
)
def test_width_that_cannot_be_split_is_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match=r"width"):
        make()
