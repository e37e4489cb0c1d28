"""RoIAlign of boxes on token grids, against sums by hand and bilinear sampling in numpy."""

from typing import Any

import numpy as np
import pytest
import torch

from bench.data.boxes.regions import RegionReadout
from bench.errors import UsageError
from bench.features.region_readout import box_readout, region_layers, roi, roi_tokens
from bench.types import Tokens
from tests.features.small import tiny_encoder

REGION = RegionReadout()
WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])
FIRST = np.zeros(1, dtype=np.int64)


def grid(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def boxes(num: int, seed: int = 0) -> np.ndarray:
    corners = np.sort(np.random.default_rng(seed).random((num, 2, 2)), axis=1)
    return corners.reshape(num, 4)


def bilinear(plane: np.ndarray, y: float, x: float) -> float:
    """The plane `[h, w]` at (y, x), where token i has its centre at i; edges are held."""
    height, width = plane.shape
    y, x = max(y, 0.0), max(x, 0.0)
    low_y, low_x = min(int(y), height - 1), min(int(x), width - 1)
    if low_y == height - 1:
        y = float(low_y)
    if low_x == width - 1:
        x = float(low_x)
    high_y, high_x = min(low_y + 1, height - 1), min(low_x + 1, width - 1)
    dy, dx = y - low_y, x - low_x
    top = plane[low_y, low_x] * (1 - dx) + plane[low_y, high_x] * dx
    bottom = plane[high_y, low_x] * (1 - dx) + plane[high_y, high_x] * dx
    return top * (1 - dy) + bottom * dy


def aligned(plane: np.ndarray, corners: np.ndarray, bins: int) -> np.ndarray:
    """RoIAlign `[bins, bins]` of one box as its paper says it, with loops."""
    height, width = plane.shape
    x1, y1, x2, y2 = corners * (width, height, width, height) - 0.5
    bin_h, bin_w = (y2 - y1) / bins, (x2 - x1) / bins
    num_y, num_x = int(np.ceil(bin_h)), int(np.ceil(bin_w))
    out = np.zeros((bins, bins))
    for by in range(bins):
        for bx in range(bins):
            samples = [
                bilinear(
                    plane,
                    y1 + by * bin_h + (iy + 0.5) * bin_h / num_y,
                    x1 + bx * bin_w + (ix + 0.5) * bin_w / num_x,
                )
                for iy in range(num_y)
                for ix in range(num_x)
            ]
            out[by, bx] = np.mean(samples)
    return out


@pytest.mark.parametrize(("height", "width"), [(1, 1), (14, 14), (16, 28), (7, 5), (3, 11)])
def test_box_over_the_whole_grid_is_the_mean_of_its_tokens(height: int, width: int) -> None:
    maps = grid(1, 6, height, width)
    expected = maps.double().mean((2, 3))
    found = roi(maps, FIRST, WHOLE, "mean")
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)


def test_part_of_a_token_weighs_as_the_plane_between_centres() -> None:
    # Tokens 0 and 4 side by side: the plane is 0 up to the first centre (x = 1/2), 4 from the
    # second (3/2) on, and a slope between. A box from x = 1 to x = 2 (fractions 1/2 and 1) is one
    # token wide: one sample at x = 3/2, where the plane is 4. From 1/4 to 3/4: at x = 1, where it
    # is 2. From 0 to 3/4, 1.5 tokens: samples at 3/8 (before the centre: 0) and 9/8 (2.5).
    maps = torch.tensor([[[[0.0, 4.0]]]])
    for x1, x2, expected in ((0.5, 1.0, 4.0), (0.25, 0.75, 2.0), (0.0, 0.75, 1.25)):
        found = roi(maps, FIRST, np.array([[x1, 0.0, x2, 1.0]]), "mean")
        assert found.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("bins", [1, 3, 7])
def test_boxes_are_sampled_as_in_numpy(bins: int) -> None:
    maps, corners = grid(2, 3, 5, 8), boxes(12)
    moment = np.arange(12) % 2
    expected = np.array(
        [
            [aligned(plane.double().numpy(), box, bins) for plane in maps[at]]
            for at, box in zip(moment, corners, strict=True)
        ]
    )
    if bins == 1:
        found = roi(maps, moment, corners, "mean")
        np.testing.assert_allclose(found, expected[:, :, 0, 0], atol=1e-4)
    elif bins == 7:
        found = roi(maps, moment, corners, "max")
        np.testing.assert_allclose(found, expected.max((2, 3)), atol=1e-4)
    else:
        found = roi_tokens(maps[:, None], moment, corners, bins)
        in_order = expected.transpose(0, 2, 3, 1).reshape(12, 9, 3)
        np.testing.assert_allclose(found, in_order, atol=1e-4)


def test_tokens_of_a_box_are_in_order_of_time_row_and_column() -> None:
    # Two key frames of three time steps; every token tells its place: 100 t + 10 y + x, and the
    # second key frame adds 1000. Two bins a side of a whole 2 x 2 grid are its tokens.
    t, y, x = torch.meshgrid(torch.arange(3), torch.arange(2), torch.arange(2), indexing="ij")
    one = (100 * t + 10 * y + x).float()
    maps = torch.stack([one, one + 1000])[:, :, None]
    found = roi_tokens(maps, np.array([1, 0]), np.repeat(WHOLE, 2, axis=0), 2)
    assert found.shape == (2, 12, 1)
    assert found[1, :, 0].tolist() == one.flatten().tolist()
    assert found[0, :, 0].tolist() == (one + 1000).flatten().tolist()


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_mirrored_box_on_mirrored_tokens_is_the_same(pool: str) -> None:
    maps, corners = grid(1, 4, 6, 9), boxes(20)
    turned = corners.copy()
    turned[:, [0, 2]] = 1 - corners[:, [2, 0]]
    moment = np.zeros(20, dtype=np.int64)
    torch.testing.assert_close(
        roi(maps.flip(-1), moment, turned, pool),
        roi(maps, moment, corners, pool),
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_box_without_extent_is_read_at_its_place(pool: str) -> None:
    # Column centres at 1/6, 1/2, 5/6: at 2/3 the plane is half way from 1 to 2; on the edge 2.
    maps = torch.tensor([[[[0.0, 1.0, 2.0]]]])
    flat = np.array([[2 / 3, 0.2, 2 / 3, 0.8], [1.0, 1.0, 1.0, 1.0], [2 / 3, 0.5, 2 / 3, 0.5]])
    found = roi(maps, np.zeros(3, dtype=np.int64), flat, pool)
    np.testing.assert_allclose(found[:, 0], [1.5, 2.0, 1.5], atol=1e-4)
    cut = roi_tokens(maps[:, None], np.zeros(3, dtype=np.int64), flat, 3)
    assert torch.isfinite(cut).all()


def test_layers_are_every_second_one_back_from_the_last() -> None:
    assert region_layers(24, 4) == (17, 19, 21, 23)
    assert region_layers(32, 4) == (25, 27, 29, 31)
    assert region_layers(8, 4) == (1, 3, 5, 7)
    assert region_layers(7, 4) == (3, 4, 5, 6)
    assert region_layers(2, 4) == (0, 1)
    assert region_layers(5, 1) == (4,)
    with pytest.raises(UsageError, match="num_layers = 0"):
        region_layers(5, 0)


def test_layers_are_averaged_over_time_and_joined_on_channels() -> None:
    encoder = tiny_encoder()
    readout = box_readout(RegionReadout(num_layers=2), ("vector",), encoder.spec)
    layers = (grid(1, 2 * 3 * 4, 12, seed=1), grid(1, 2 * 3 * 4, 12, seed=2))
    [maps] = readout.collect(Tokens(layers=layers, grid=(2, 3, 4)))
    assert maps.shape == (1, 24, 3, 4)
    found = roi(maps, FIRST, WHOLE, "mean")[0]
    expected = torch.cat([layer.mean((0, 1)) for layer in layers])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_what_does_not_change_a_readout_is_not_in_its_facts() -> None:
    spec = tiny_encoder().spec

    def facts(reads: str, **how: Any) -> dict[str, Any]:
        return box_readout(RegionReadout(**how), (reads,), spec).facts(reads)

    assert facts("vector") == {"layers": [0, 1], "norm": True, "pool": "mean", "bins": 1}
    assert facts("vector", pool="max")["bins"] == 7
    assert facts("vector", bins=5) == facts("vector")
    assert facts("vector", num_layers=1, norm=False) == facts("vector", num_layers=1)
    assert facts("vector", norm=False) != facts("vector")
    assert facts("tokens", num_layers=1, norm=False, pool="max") == facts("tokens")
    assert facts("tokens", bins=5) != facts("tokens")
    both = box_readout(REGION, ("vector", "tokens"), spec)
    assert (both.facts("vector"), both.facts("tokens")) == (facts("vector"), facts("tokens"))
    # What no readout needs is not tapped.
    assert both.layers == (0, 1) and box_readout(REGION, ("tokens",), spec).layers == (1,)
    with pytest.raises(UsageError, match="bins = 0"):
        facts("tokens", bins=0)


@pytest.mark.gpu
@pytest.mark.parametrize("pool", ["mean", "max"])
def test_gpu_and_cpu_read_the_same(pool: str) -> None:
    maps, corners, moment = grid(3, 5, 6, 9), boxes(20), np.arange(20) % 3
    on_gpu = roi(maps.cuda(), moment, corners, pool)
    torch.testing.assert_close(on_gpu.cpu(), roi(maps, moment, corners, pool), rtol=0, atol=1e-5)
