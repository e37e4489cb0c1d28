"""Tables as JSON: everything of a cell, numbers as fractions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from bench.publish.leaderboard import Column, Leaderboard
from leaderboards.render.csv_text import csv_text
from leaderboards.render.json_text import json_text
from leaderboards.render.write_all import write_table
from leaderboards.rows.join import join
from tests.leaderboards.tables import markdown
from tests.leaderboards.test_latex import PRINTED, published
from tests.sound_record import sound_record

BOARD = Leaderboard(
    name="small",
    title="Small",
    columns=[Column(title="attentive", task="what", probe="attentive", protocol="honest@1")],
)


def test_json_holds_what_the_page_shows() -> None:
    records = [
        sound_record(encoder="a", task="what", correct=60, seed=0),
        sound_record(encoder="a", task="what", correct=66, seed=1),
        sound_record(encoder="b", task="what", correct=90, protocol="vjepa@1"),
    ]
    fields = json.loads(json_text(join(BOARD, records)))
    assert [column["label"] for column in fields["columns"]] == ["what/attentive@honest@1"]
    assert fields["sections"][0]["columns"] == [0]
    rows = {row["name"]: row for row in fields["rows"]}
    assert list(rows) == ["b", "a", "chance"]
    [cell] = rows["a"]["cells"]
    assert cell["value"] == 0.63 and cell["is_best"]
    assert cell["seeds"]["values"] == {"0": 0.6, "1": 0.66} and cell["seeds"]["over"] == "seeds"
    assert cell["interval"]["method"] == "Wilson" and cell["interval"]["level"] == 0.95
    [marked] = rows["b"]["cells"]
    assert fields["notes"][marked["notes"][0] - 1] == "protocol vjepa@1; the column uses honest@1"
    assert rows["chance"]["cells"][0]["record"] is None
    told = fields["records"][cell["record"]]
    assert told["facts"]["Clips"] and told["scored"] == 100 and told["probe"] == "attentive"
    assert fields["legend"] and fields["hidden"] == 0


def test_published_numbers_are_in_every_format(tmp_path: Path) -> None:
    table = published()
    lines = [line for line in markdown(table).splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert [line.split("|")[-2].strip() for line in [lines[0], *lines[2:]]] == [
        "K400",
        "**80.8**†",
        "67.98†   ±0.3",
        "**79.9**  ±2.6, 2 seeds ±0.3 (80.8†, -0.9)",
        "–",  # noqa: RUF001
    ]
    # Places say nothing of rows in the order of a paper.
    ranked = [
        replace(row, cells=tuple(replace(cell, rank=(1, 1)) for cell in row.cells))
        for row in table.rows
    ]
    assert "| #" not in markdown(replace(table, rows=tuple(ranked)))
    fields = json.loads(json_text(table))
    cell = fields["rows"][2]["cells"][0]
    assert cell["published"]["value"] == PRINTED.value
    assert round(100 * cell["difference"], 6) == -0.9
    header, *rows = csv_text(table).splitlines()
    assert header.endswith(":published,k400/attentive@any:published_std,"
                           "k400/attentive@any:difference,notes")  # fmt: skip
    assert [row.split(",")[-4:-1] for row in rows] == [
        ["80.8", "", ""],
        ["67.98", "0.3", ""],
        ["80.8", "", "-0.9"],
        ["", "", ""],
    ]
    assert len(write_table(table, tmp_path)) == 5
