import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.encoders.networks.rope import (
    RotaryAttention,
    apply_rope,
    axis_angles,
    axis_width,
    cos_sin_at,
)
from bench.errors import UsageError

IO = np.load(Path(__file__).parent.parent / "fixtures" / "v2_encoder_io.npz")


def test_turned_channels_equal_the_released_primitive() -> None:
    angles = axis_angles(torch.from_numpy(IO["rot_pos"]), 8)
    made = apply_rope(torch.from_numpy(IO["rot_x"]), (angles.cos(), angles.sin()))
    torch.testing.assert_close(made, torch.from_numpy(IO["rot_y"]), rtol=0, atol=1e-6)


def test_pairs_are_neighbours_and_angles_are_tiled() -> None:
    # width 4 at position 3: frequencies 1 and 1/100, angles 3, .03, 3, .03
    angles = axis_angles(torch.tensor([3]), 4)
    [made] = apply_rope(torch.tensor([[1.0, 2.0, 5.0, 7.0]]), (angles.cos(), angles.sin()))
    c, s, d, t = math.cos(3), math.sin(3), math.cos(0.03), math.sin(0.03)
    expected = [c - 2 * s, 2 * d + t, 5 * c - 7 * s, 7 * d + 5 * t]
    torch.testing.assert_close(made, torch.tensor(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("head_dim", "width"), [(64, 20), (80, 26), (88, 28), (32, 10), (14, 4), (12, 4)]
)
def test_axes_get_the_released_widths(head_dim: int, width: int) -> None:
    assert axis_width(head_dim) == width


def test_head_too_narrow_for_three_axes_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 12 channels, not 11"):
        axis_width(11)


def test_axes_are_time_row_column_of_the_grid_given() -> None:
    # on 3 rows of 5 columns, token 22 is at time 1, row 1, column 2; 12 channels are 4 per axis
    cos, sin = cos_sin_at(torch.tensor([22]), (3, 5), 12)
    angles = [p * w for p in (1, 1, 2) for w in (1, 0.01, 1, 0.01)]
    torch.testing.assert_close(cos[0], torch.tensor([math.cos(a) for a in angles]))
    torch.testing.assert_close(sin[0], torch.tensor([math.sin(a) for a in angles]))


def test_channels_that_are_left_over_do_not_turn() -> None:
    x = torch.randn(2, 1, 6, 17, generator=torch.Generator().manual_seed(0))
    made = apply_rope(x, cos_sin_at(torch.arange(6), (2, 3), 17))
    assert torch.equal(made[..., 12:], x[..., 12:])
    assert not torch.equal(made[..., 8:12], x[..., 8:12])


def test_angles_stay_exact_in_half_precision() -> None:
    x = torch.randn(1, 1, 40, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    cos_sin = cos_sin_at(torch.arange(40), (1, 40), 64)
    made = apply_rope(x, cos_sin)
    assert made.dtype == torch.bfloat16
    assert torch.equal(made, apply_rope(x.float(), cos_sin).bfloat16())


def test_attention_equals_an_explicit_softmax() -> None:
    torch.manual_seed(0)
    attention, x = RotaryAttention(24, 2), torch.randn(2, 6, 24)
    cos_sin = cos_sin_at(torch.arange(6), (2, 3), 12)
    q, k, v = (p.unflatten(-1, (2, 12)).transpose(1, 2) for p in attention.qkv(x).chunk(3, -1))
    weights = torch.softmax(apply_rope(q, cos_sin) @ apply_rope(k, cos_sin).mT / 12**0.5, dim=-1)
    expected = attention.proj((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, cos_sin), expected, rtol=0, atol=1e-6)
