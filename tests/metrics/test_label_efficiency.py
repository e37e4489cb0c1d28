"""Spread, area and labels to a target against values worked out by hand."""

import math

import pytest

from bench.metrics.label_efficiency import labels_to_reach, log_area, middle, spread

CURVE = [(10, 0.2), (100, 0.4), (10_000, 0.5)]  # one decade, then two


def test_spread_with_one_and_no_degree_of_freedom_taken() -> None:
    # mean 2.5, squared deviations 2.25 + 0.25 + 0.25 + 2.25 = 5
    assert spread([1, 2, 3, 4]) == pytest.approx(math.sqrt(5 / 3))
    assert spread([1, 2, 3, 4], ddof=0) == pytest.approx(math.sqrt(5 / 4))
    assert spread([0.5]) is None and spread([0.5], ddof=0) == 0.0


def test_area_averages_over_the_logarithm_of_the_labels() -> None:
    # (0.3 * 1 decade + 0.45 * 2 decades) / 3 decades
    assert log_area(CURVE) == pytest.approx(0.4)
    assert log_area(CURVE[::-1]) == pytest.approx(0.4)
    assert log_area([(7, 0.25), (29, 0.25), (300, 0.25)]) == pytest.approx(0.25)
    assert log_area([(8, 1.0), (16, 1.0)]) == pytest.approx(1.0)


def test_area_needs_width_and_averages_points_at_one_number_of_labels() -> None:
    assert log_area([]) is None and log_area([(10, 0.3)]) is None
    assert log_area([(10, 0.3), (10, 0.4)]) is None
    # 0.3 at 10 labels (two draws of them), 0.5 at 100
    assert log_area([(10, 0.2), (10, 0.4), (100, 0.5)]) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("target", "labels"),
    [
        (0.1, 10),  # reached by the first share: at most so many
        (0.2, 10),
        (0.3, 10**1.5),  # half way between 10 and 100 on the logarithm
        (0.4, 100),
        (0.45, 1000),
        (0.5, 10_000),
        (0.51, None),
    ],
)
def test_labels_to_reach_a_target(target: float, labels: float | None) -> None:
    assert labels_to_reach(CURVE, target) == pytest.approx(labels)


def test_the_first_crossing_counts_where_a_curve_falls_again() -> None:
    curve = [(10, 0.2), (100, 0.6), (1000, 0.3), (10_000, 0.7)]
    assert labels_to_reach(curve, 0.4) == pytest.approx(10**1.5)
    assert labels_to_reach([], 0.4) is None


def test_middle_of_the_draws_with_some_that_never_reach_it() -> None:
    assert middle([90, 40, 300]) == pytest.approx(90)
    assert middle([40, None, 90]) == pytest.approx(90)
    assert middle([40, None, None]) is None and middle([]) is None
    assert middle([10, 1000]) == pytest.approx(100) and middle([10, None]) is None
