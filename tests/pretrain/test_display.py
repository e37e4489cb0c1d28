"""The display: what stands on a terminal, and the lines of a job without one."""

import io
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from bench.pretrain.display import BARS, Display, sparkline

ENTRY = {
    "step": 1500,
    "num_steps": 10000,
    "loss": 0.41234,
    "std_loss": 0.0,
    "lr": 6.25e-4,
    "weight_decay": 0.041,
    "momentum": 0.9981,
    "encoder_norm": 1.234,
    "predictor_norm": 0.567,
    "context_tokens": [84, 21],
    "target_tokens": [60, 123],
    "clips_per_second": 1234.5,
    "data_wait": 0.07,
    "step_seconds": 0.0519,
    "memory_gb": 71.25,
    "unreadable": 3,
}
HEALTH = {"feature_std": 0.125, "relative_std": 0.31, "effective_rank": 2.75, "target_norm": 9.4}


def shown(*entries: Mapping[str, Any], clock: Callable[[], float] = lambda: 0.0) -> str:
    """What a terminal of 100 columns shows after the entries."""
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="standard")
    display = Display("digits_tiny", console=console, clock=clock)
    for entry in entries:
        display.update(entry)
    console.print(display.render())
    return console.file.getvalue()


def lines(*entries: Mapping[str, Any], clock: Callable[[], float] = lambda: 0.0) -> list[str]:
    """What a job without a terminal prints."""
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    with Display(console=console, clock=clock) as display:
        for entry in entries:
            display.update(entry)
    return console.file.getvalue().splitlines()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_panel_shows_everything_that_an_entry_holds() -> None:
    text = plain(shown(ENTRY))
    for part in (
        "digits_tiny", "step 1,500/10,000", "loss", "0.4123", "0.000625", "0.041", "0.9981",
        "encoder grad", "1.23", "predictor grad", "0.567", "84 21", "60 123", "clips/s", "1,234.5",
        "data wait", "7%", "0.0519", "71.2 GB", "unreadable", "3",
    ):  # fmt: skip
        assert part in text, part
    assert "std loss" not in text  # switched off in every released recipe


def test_panel_fits_into_100_columns() -> None:
    full = {**ENTRY, "health": HEALTH, "online": {"knn": 0.5, "linear": 0.5}}
    assert max(map(len, plain(shown(*[full] * 40)).splitlines())) == 100
    assert "…" not in plain(shown(*[full] * 40))


def test_health_and_online_scores_have_the_history_of_their_values() -> None:
    text = plain(
        shown(
            *({"step": s, "online": {"knn": v, "linear": 0.5}} for s, v in ((0, 0.1), (1, 0.9))),
            {"step": 2, "health": HEALTH},
        )
    )
    assert "online kNN" in text and "90.0% ▁█" in text
    assert "50.0% ▅▅" in text
    assert "effective rank" in text and "2.75" in text


def test_alarm_is_red_until_health_comes_without_one() -> None:
    alarm = {"step": 10, "health": HEALTH, "alarm": "steps 0 to 10: collapse"}
    text = shown(alarm, {"step": 20, "loss": 0.1})
    assert "\x1b[1;31msteps 0 to 10: collapse" in text
    assert "collapse" not in shown(alarm, {"step": 30, "health": HEALTH})


def test_remaining_time_follows_from_the_steps_since_the_display_began() -> None:
    times = iter([100.0, 160.0])
    # Resumed at step 1000; 20 steps took 60 seconds, 1980 remain: 5940 seconds.
    text = plain(
        shown(
            {"step": 1000, "num_steps": 3000},
            {"step": 1020, "num_steps": 3000},
            clock=lambda: next(times),
        )
    )
    assert "1h 39m left" in text


def test_live_display_draws_on_a_terminal_and_leaves_its_last_state() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with Display(console=console) as display:
        display.update(ENTRY)
    assert "0.4123" in console.file.getvalue().split("\x1b[?25l")[-1]


def test_without_a_terminal_every_entry_is_one_line() -> None:
    found = lines(
        {"step": 1, "num_steps": 10, "loss": 0.5},
        {"step": 2, "loss": 0.25, "health": HEALTH, "online": {"knn": 0.125}},
    )
    assert len(found) == 2
    assert found[0] == "step 1/10  loss 0.5000"
    assert "step 2/10  loss 0.2500  online kNN 12.5%" in found[1]
    assert "effective rank 2.75" in found[1] and not set(BARS) & set(found[1])


def test_without_a_terminal_a_step_alone_prints_nothing() -> None:
    assert lines({"step": 1, "num_steps": 10}, {"step": 2}) == []


def test_without_a_terminal_the_alarm_and_the_remaining_time_end_the_line() -> None:
    times = iter([0.0, 30.0])
    found = lines(
        {"step": 0, "num_steps": 100},
        {"step": 10, "loss": 0.5, "alarm": "steps 0 to 10: [collapse]"},
        clock=lambda: next(times),
    )
    assert found == ["step 10/100  loss 0.5000  4m 30s left  ALARM steps 0 to 10: [collapse]"]


def test_number_that_is_not_finite_is_said_in_words() -> None:
    assert "not finite" in plain(shown({"step": 1, "loss": math.nan}))


def test_sparkline_is_lowest_at_the_minimum_and_highest_at_the_maximum() -> None:
    assert sparkline([1.0, 8.0, 4.0, 2.0]) == "▁█▄▂"  # 0, 1, 3/7 and 1/7 of the way up 7 steps
    assert sparkline([2.0, 2.0]) == "▅▅"
    assert sparkline([1.0]) == sparkline([]) == ""
