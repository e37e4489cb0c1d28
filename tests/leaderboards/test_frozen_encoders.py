"""The board of encoder families: size, input, computation, against numbers worked out by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import registry
from bench.errors import DataError
from bench.publish.leaderboard import Leaderboard
from bench.records.record import Record
from bench.records.speeds import FILE, Speed, keep_speed, newest_speeds
from leaderboards.frozen_encoders import with_facts
from leaderboards.render.encoder_facts import three_digits
from leaderboards.rows.join import join
from leaderboards.rows.notes import own_notes
from leaderboards.rows.provenance import facts_of
from leaderboards.runs import runs
from tests.leaderboards.test_render import Page
from tests.sound_record import digest, sound_fields

CARD = {"licence": "Apache-2.0", "trained_on": ["in1k", "k400"], "labels": "all"}


CHECK = {
    "clip": "formula-1 16x224", "sha256": digest("features"), "blocks": [0.5], "spread": 1.0,
    "num_tensors": 294, "num_norms": 49,
}  # fmt: skip


def record(
    *, gflops: float | None = None, takes: str = "video", kind: str = "video",
    card: dict | None = None, **changes: Any,
) -> Record:  # fmt: skip
    """A record of an encoder with that computation per clip."""
    fields = sound_fields(**changes)
    fields["encoder"] |= {"takes": takes, "depth": 24, "clips_per_call": 16, "card": card or {}}
    fields["encoder"]["check"] = CHECK | {"gflops": gflops}
    fields["task"]["kind"] = kind
    return Record.model_validate(fields)


def records() -> list[Record]:
    first = {"encoder": "first", "task": "moving_digits_what", "gflops": 24.0}
    return [
        record(correct=70, **first),
        record(correct=60, probe="linear", **first),
        record(correct=50, encoder="first", task="moving_digits_how", gflops=24.0),
        record(correct=80, encoder="first", task="moving_digits_stills", kind="image", gflops=24.0),
        record(correct=90, encoder="second", task="moving_digits_what", takes="image", weights="b",
               gflops=1280.4),
        record(correct=20, encoder="pixels", weights=None, is_floor=True,
               task="moving_digits_what"),
    ]  # fmt: skip


def board(**options: Any) -> Leaderboard:
    return registry.build("boards", "frozen_encoders", options)


@pytest.mark.parametrize(
    ("number", "text"), [(1280.4, "1,280"), (24.0, "24.0"), (1.5, "1.50"), (0.034, "0.03")]
)
def test_facts_are_spelled_with_three_digits(number: float, text: str) -> None:
    assert three_digits(number) == text


def test_markdown_is_one_table_with_facts_before_numbers(tmp_path: Path) -> None:
    text = board().write(board(), records(), tmp_path)[0].read_text(encoding="utf-8")
    lines = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]]
             for line in text.splitlines() if line.startswith("| ")}  # fmt: skip
    dash = "–"  # noqa: RUF001
    assert lines["encoder"] == ["parameters", "input", "GFLOPs/clip", "what", "how", "stills"]
    assert lines["second"] == ["303 M", "16 x (1 x 224²)", "1,280", "**90.0** ±7.4", dash, dash]
    assert lines["first"] == [
        "303 M",
        "16 x 224²",
        "24.0",
        "70.0   ±9.6",
        "**50.0** ±9.6",
        "**80.0** ±8.9",
    ]
    assert lines["*pixels*"] == [dash, "16 x 224²", dash, "20.0   ±8.9", dash, dash]
    assert lines["*chance*"] == ["", "", "", "10.0", "10.0", "10.0"]
    assert list(lines)[-3:] == ["*floors*", "*pixels*", "*chance*"]
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1
    assert "what: Moving digits what · attentive · top-1 accuracy in % · honest@1" in text
    assert "computed, not measured; a multiply-add counts as two operations." in text
    assert "clips/s" not in text


def test_csv_and_page_have_the_facts_too(tmp_path: Path) -> None:
    _, csv, *_, html = board().write(board(), records(), tmp_path)
    frame = pd.read_csv(csv).set_index("encoder")
    assert frame.loc["first", "parameters"] == 303_000_000
    assert frame.loc["first", "GFLOPs/clip"] == pytest.approx(24.0)
    assert frame.loc["second", "input"] == "16 x (1 x 224)"
    page = html.read_text(encoding="utf-8")
    parsed = Page()
    parsed.feed(page)
    assert parsed.open == [] and len(parsed.ids) == len(set(parsed.ids))
    heads = page.split('data-column="')[1:]
    assert [head.split('"')[0] for head in heads] == [str(i) for i in range(7)]
    body = page.split('<tbody class="ranked">')[1].split("</tbody>")[0]
    # Cells of a row are in the order of the headings, by whose number the page sorts them.
    assert body.split("</tr>")[0].count("<td") == 6
    assert "computed, not measured" in page
    assert 'data-value="303000000">303 M' in body and 'data-value="24.0">24.0' in body


def test_a_measured_speed_is_shown_with_its_place(tmp_path: Path) -> None:
    first, home = records()[0], tmp_path / "home"
    for median in (9.0, 12.5):  # the newest counts
        keep_speed(home, speed_of(first, median))
    made = board()
    text = made.write(replace(made, records=home / "records"), records(), tmp_path)[0].read_text()
    rows = [line for line in text.splitlines() if line.startswith("| first ")]
    assert "| GFLOPs/clip | clips/s |" in re.sub(" +", " ", text)
    assert "| 24.0 | 12.5 |" in re.sub(" +", " ", rows[0])
    assert "clips/s: the network alone, bench speed (bf16, batches of 8 on One GPU)." in text
    (home / FILE).write_text("{}\n")
    with pytest.raises(DataError, match=r"speeds.jsonl, line 1, is not a measured speed"):
        newest_speeds(home)


def speed_of(record: Record, median: float) -> Speed:
    encoder = record.encoder
    return Speed(
        encoder=encoder.name, weights_sha256=encoder.weights_sha256, gflops=24.0,
        num_frames=encoder.num_frames, image_size=encoder.image_size, device="One GPU",
        precision="bf16", batch=8, repeats=20, median=median, lowest=1.0, highest=20.0,
        created="2026-01-01T00:00:00Z", torch="2.11.0",
    )  # fmt: skip


def test_another_probe_can_be_shown_and_empty_columns_are_left_out() -> None:
    table = with_facts(board(probe="linear"), records())
    assert [head.column.title for head in table.heads] == ["what"]
    assert [row.name for row in table.rows] == ["first", "chance"]


def test_a_board_without_records_says_so(tmp_path: Path) -> None:
    paths = board().write(board(), [], tmp_path)
    assert "No records yet" in paths[0].read_text(encoding="utf-8")
    Page().feed(paths[-1].read_text(encoding="utf-8"))


def test_other_boards_have_no_facts() -> None:
    table = join(runs(), records())
    assert table.facts == () and all(row.facts == () for row in table.rows)


def test_an_encoder_that_saw_what_it_is_scored_on_is_marked_but_competes() -> None:
    seen = record(encoder="seen", task="in1k", kind="image", card=CARD)
    other = record(encoder="other", task="ssv2", card=CARD)
    [note] = own_notes(seen)
    assert note == "encoder pretrained on in1k (with its labels)" and not own_notes(other)
    table = join(runs(), [seen])
    assert table.notes == (note,) and table.rows[0].cells[0].is_best


def test_the_facts_of_a_record_name_card_and_check() -> None:
    fields = sound_fields()
    fields["encoder"]["card"] = CARD
    fields["encoder"]["check"] = CHECK
    lines = facts_of(Record.model_validate(fields))["Encoder"]
    assert "pretrained on in1k, k400 (labels used: all)" in lines
    assert "weights licence: Apache-2.0" in lines
    assert any(digest("features")[:16] in line and "294 tensors loaded" in line for line in lines)
