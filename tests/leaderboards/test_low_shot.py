"""The label-efficiency table and its curves, from records worked out by hand and from real ones."""

from __future__ import annotations

import io
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from PIL import Image

from bench import registry
from bench.config import Machine, expand
from bench.errors import UsageError
from bench.publish.leaderboard import Column, Leaderboard
from bench.publish.write_board import write_board
from bench.records.record import Record
from bench.studies.low_shot_study import study
from bench.types import Silent
from leaderboards.render.low_shot_figure import _figure
from leaderboards.render.low_shot_text import csv_text, sheet_of
from leaderboards.render.markdown import markdown_of
from leaderboards.rows import join as tables
from leaderboards.rows.low_shot_join import join
from leaderboards.rows.low_shot_parts import LowShot
from tests.commands import Bench
from tests.sound_record import box_fields, box_metrics, digest, id_of, sound_fields, sound_record

CLASSES = 10
WHOLE = digest("train list")
SUFFIXES = [".md", ".csv", ".tex", ".json", ".html"]
UNIT = 100  # rows of the score split, so that a count is a percent


def made(
    encoder: str,
    correct: int,
    *,
    fraction: float | None = None,
    shots: int | None = None,
    draw: int = 0,
    lost: int = 0,
    options: dict[str, Any] | None = None,
    **how: Any,
) -> Record:
    """A record of `correct` percent on a share of 400 training rows of 10 classes."""
    fields = sound_fields(encoder=encoder, correct=correct, rows=UNIT, classes=CLASSES, **how)
    is_whole = fraction is None and shots is None
    rows = 400 if is_whole else CLASSES * shots if shots else round(400 * (fraction or 1))
    asked = {"fraction": fraction} if fraction else {"shots": shots} if shots else {}
    config = {**fields["config"], "task_options": {**asked, **({"draw": draw} if asked else {})}}
    fit = digest(f"cut {asked} {draw}") if asked else WHOLE
    fields["config"] = config
    fields["data"]["fit"] |= {"digest": fit, "listed": rows, "used": rows - lost}
    fields["data"]["fit"]["undecodable"] = {f"lost_{i}": "cut short" for i in range(lost)}
    fields["train_labels"] = {
        "fraction": fraction or 1.0, "draw": draw, "used": rows - lost, "shots": shots,
        "least": rows // CLASSES, "most": rows // CLASSES,
    }  # fmt: skip
    fields["task"]["options"] = {
        "size": "full", "rule": "a rule", **asked, **({"whole_sha256": WHOLE} if asked else {}),
        **(options or {}),
    }  # fmt: skip
    fields["id"] = id_of(fields)
    return Record.model_validate(fields)


def curve(encoder: str, tenth: list[int], whole: int, **how: Any) -> list[Record]:
    """A tenth of the labels (40) in several draws, and all (400)."""
    drawn = [made(encoder, c, fraction=0.1, draw=d, **how) for d, c in enumerate(tenth)]
    return [*drawn, made(encoder, whole, **how)]


RECORDS = [
    *curve("first", [20, 22, 24], 42),
    *curve("second|x", [30, 30, 33], 41),
    *curve("noise", [9, 10, 11], 12, weights="none", is_floor=True),
]


def markdown(board: LowShot) -> str:
    return markdown_of(sheet_of(board, "low_shot"))


def test_table_has_the_layout_of_table_7() -> None:
    lines = markdown(join("Label efficiency", RECORDS)).splitlines()[:12]
    assert lines[:6] == [
        "# Label efficiency",
        "",
        "## Moving digits what · attentive",
        "",
        "top-1 accuracy in % · honest@1 · scored on test, n = 100 · 10 classes, chance 10.0"
        " · mean ± standard deviation over 3 draws (ddof = 1)",
        "",
    ]
    assert len({len(line) for line in lines[6:]}) == 1  # aligned
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in (lines[6], *lines[8:])
    ]
    assert cells == [
        ["encoder", "10 % (4)", "100 % (40)", "area", "labels to 30 %", "labels to 40 %"],
        # Mean 31, deviations 1, 1, 2: sqrt(6 / 2) = 1.7. Areas 35.5, 35.5, 37.
        # From 30 at 40 labels to 41 at 400, 40 is reached at 40 * 10^(10 / 11), in two draws.
        ["second\\|x", "**31.0 ± 1.7**", "41.0", "36.0 ± 0.9", "≤ 40", "324 (300 to 324)"],
        # From 22 to 42, 30 is reached at 40 * 10^0.4; in other draws at 40 * 10^(6 / 18), ...
        ["first", "22.0 ± 2.0", "**42.0**", "32.0 ± 1.0", "100 (86 to 114)", "318 (310 to 324)"],
        ["*floors*", "", "", "", "", ""],
        ["*noise*", "10.0 ± 1.0", "12.0", "11.0 ± 0.5", "not reached", "not reached"],
    ]


def rows_of(board: LowShot) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(csv_text(board)), dtype={"by_draw": str})


def test_csv_holds_both_deviations_and_every_draw() -> None:
    rows = rows_of(join("t", RECORDS))
    own = rows[rows.encoder == "second|x"]
    [cell] = own[(own.quantity == "top1") & (own.share == "10 %")].to_dict("records")
    assert (cell["fraction"], cell["labels"], cell["labels_per_class"]) == (0.1, "40", 4)
    assert (cell["draws"], cell["mean"]) == (3, 31.0)
    assert cell["std_ddof1"] == pytest.approx(3**0.5, abs=1e-6)
    assert cell["std_ddof0"] == pytest.approx(2**0.5, abs=1e-6)
    assert [float(value) for value in cell["by_draw"].split()] == [30, 30, 33]
    assert cell["records"].split() == [r.id for r in RECORDS[4:7]]
    [area] = own[own.quantity == "area"].to_dict("records")
    assert (area["mean"], area["draws"]) == (36.0, 3)
    assert area["std_ddof1"] == pytest.approx(0.75**0.5, abs=1e-6)
    reach = own[own.quantity == "labels_to_reach"].set_index("target")
    assert float(reach.labels[40]) == pytest.approx(40 * 10 ** (10 / 11), abs=0.01)
    assert float(reach.smallest[40]) == pytest.approx(40 * 10 ** (7 / 8), abs=0.01)
    assert reach.notes[30] == "reached by the smallest share"
    floor = rows[(rows.encoder == "noise") & (rows.quantity == "labels_to_reach")]
    assert floor.kind.unique().tolist() == ["floor"] and set(floor.labels) == {"not reached"}


def test_targets_can_be_named_and_a_draw_may_miss_one() -> None:
    records = curve("first", [20, 30], 32)
    text = markdown(join("t", records, targets=(0.31,)))
    # 20 to 32 reaches 31 at 40 * 10^(11 / 12), 30 to 32 at 40 * 10^(1 / 2): 330 and 126.
    assert "labels to 31 % |" in text and "204 (126 to 330)" in text
    none = markdown(join("t", [*records[:2], made("first", 30)], targets=(0.29,)))
    # 20 to 30 reaches 29 at 40 * 10^(9 / 10), 30 to 30 has it from the start: 318 and 40.
    assert "113 (40 to 318)" in none
    falling = [made("a", 40, fraction=0.1), made("a", 20, fraction=0.1, draw=1), made("a", 28)]
    assert "not reached (40 to not reached)" in markdown(join("t", falling, targets=(0.3,)))


def test_target_that_most_draws_reach_with_the_smallest_share_is_a_bound() -> None:
    """Also where unreadable rows make the smallest share of each draw another number of labels."""
    lost = [made("a", 40, fraction=0.1, draw=d, lost=d) for d in range(3)]  # 40, 39 and 38 labels
    assert "≤ 39 (38 to 40)" in markdown(join("t", [*lost, made("a", 50)], targets=(0.3,)))
    # 10 to 50 reaches 30 at 40 * 10^0.5 = 126; with 40 labels for the other: sqrt(40 * 126).
    halves = [made("a", 40, fraction=0.1), made("a", 10, fraction=0.1, draw=1), made("a", 50)]
    assert "≤ 71 (40 to 126)" in markdown(join("t", halves, targets=(0.3,)))
    # One draw of three alone has it: the median is interpolated.
    rest = [*halves, made("a", 10, fraction=0.1, draw=2)]
    assert "| 126 (40 to 126)" in markdown(join("t", rest, targets=(0.3,)))


def test_shots_are_columns_beside_fractions_by_number_of_labels() -> None:
    shots = [made("first", c, shots=k, draw=d) for k, c in ((1, 15), (8, 30)) for d in (0, 1)]
    [panel] = join("t", [*RECORDS[:4], *shots]).panels
    assert [column.title for column in panel.columns] == ["1 shot", "10 %", "8 shots", "100 %"]
    assert [column.per_class for column in panel.columns] == ["1", "4", "8", "40"]
    [line] = panel.lines
    # Draw 2 has no shots, so two curves are whole.
    assert len(line.area.values) == 2 and len(line.cells[1].values) == 3
    assert "2 of 3 draws" in join("t", [*RECORDS[:4], *shots]).notes


def test_lines_of_one_encoder_are_told_apart_by_what_differs() -> None:
    [panel] = join(
        "t", [*curve("first", [20, 22], 40), *curve("first", [21, 25], 41, seed=1)]
    ).panels
    assert sorted(line.name for line in panel.lines) == ["first (seed 0)", "first (seed 1)"]
    swept = [
        record.model_copy(update={"probe": record.probe.model_copy(update={"heads": heads})})
        for heads in (({"k": 1}, {"k": 20}), ({"k": 5}, {"k": 5.5}))
        for record in curve("first", [20], 40)
    ]
    [panel] = join("t", swept).panels
    assert sorted(line.name for line in panel.lines) == ["first (k 1, 20)", "first (k 5, 5.5)"]


def test_another_plan_is_named_once_and_briefly() -> None:
    said = "plan 8x1x1@2 instead of 16x2x3@4"
    other = [
        r.model_copy(
            update={"plan": r.plan.model_copy(update=dict.fromkeys(("fit", "score"), "8x1x1@2"))}
        )
        for r in curve("first", [20], 40, deviations=(said,))
    ]
    board = join("t", [*curve("first", [20], 40), *other])
    names = sorted(line.name for line in board.panels[0].lines)
    assert names == ["first (plan 16x2x1@4 to fit, 16x2x3@4 to score)", "first (plan 8x1x1@2)"]
    assert f"deviates from honest@1: {said}" in board.notes


def test_the_newest_complete_record_of_a_draw_counts() -> None:
    old, new = "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z"
    same = {"fraction": 0.1, "created": old}
    worse = made("first", 18, **{**same, "created": new})
    limited = made(
        "first", 90, **{**same, "created": "2025-03-01T00:00:00Z"},
        status="suspect", reasons=("labels look permuted",),
    )  # fmt: skip
    [panel] = join("t", [made("first", 25, **same), worse, limited]).panels
    assert panel.lines[0].cells[0].values == (0.18,)


def test_what_a_reader_must_know_stands_below_the_table() -> None:
    records = [
        made("first", 20, fraction=0.1, lost=2),
        made("first", 22, fraction=0.1, draw=1, options={"lifted_classes": 3}),
        made("second", 30, shots=9, options={"short_classes": 2}),
        made("third", 25, fraction=0.1, status="not_reportable", reasons=("in a hurry",)),
    ]
    board = join("t", records)
    assert set(board.notes) == {
        "trained on 38 of 40 drawn rows",
        "classes raised to one row, above the fraction: 3",
        "classes with too few rows, all of which are used: 2",
        "1 of 2 draws",
    }
    assert board.hidden == 1 and "Not shown: 1 not reportable" in markdown(board)
    shown = join("t", records, include_unreportable=True)
    assert "not reportable: in a hurry" in shown.notes
    [panel] = shown.panels
    assert not any(c.is_best for line in panel.lines if line.name == "third" for c in line.cells)


def test_few_labels_are_won_by_encoders_above_chance_that_no_floor_equals() -> None:
    records = [
        *curve("a", [20, 22], 40),
        *curve("random", [10, 12], 40, is_floor=True),
    ]
    [panel] = join("t", records).panels
    marks = {line.name: [cell.is_best for cell in line.cells] for line in panel.lines}
    assert marks == {"a": [True, False], "random": [False, False]}
    [panel] = join("t", [*curve("a", [2, 20], 40), *curve("b", [1, 1], 30)]).panels
    assert [cell.is_best for cell in panel.lines[0].cells] == [False, True]


def test_only_records_that_the_table_would_show_are_told_as_hidden() -> None:
    hurried = {"status": "not_reportable", "reasons": ("in a hurry",)}
    all_labels = [made("first", 40, **hurried), made("other", 40, task="other", **hurried)]
    board = join("t", [*curve("first", [20], 40), *all_labels])
    assert board.hidden == 1
    alone = join("t", [made("first", 20, fraction=0.1, **hurried), *all_labels])
    assert alone.panels == () and alone.hidden == 2
    text = markdown(alone)
    assert "Not shown: 2 not reportable" in text and "--all" in text and "yet" not in text


def test_draws_by_another_rule_are_not_averaged() -> None:
    old = [made("a", c, fraction=0.1, draw=d) for d, c in enumerate((20, 22))]
    labels = old[0].train_labels.model_copy(update={"rule": "of every class the last rows"})
    new = made("a", 40, fraction=0.1, draw=2).model_copy(
        update={"train_labels": labels.model_copy(update={"draw": 2})}
    )
    board = join("t", [*old, new, made("a", 50)])
    values = [[100 * v for v in cell.values] for cell in board.panels[0].lines[0].cells]
    assert values == [[20, 22], [40], [50]]
    assert "draw rule: of every class the last rows" in board.notes
    # No draw has all shares: there is no curve, and the table says nothing of labels to a target.
    assert set(rows_of(board).quantity) == {"top1"}


def test_limited_runs_have_a_line_of_their_own() -> None:
    limited = made("a", 30, fraction=0.1, draw=1)
    limited = limited.model_copy(update={"config": {**limited.config, "limit": 500}})
    [panel] = join("t", [*curve("a", [20], 40), limited]).panels
    assert sorted(line.name for line in panel.lines) == ["a (limit 500)", "a (limit none)"]


def test_departures_from_the_protocol_do_not_compete() -> None:
    departed = curve("b", [80], 90, deviations=("plan 16x8x3@4 instead of 16x2x3@4",))
    [panel] = join("t", [*curve("a", [20], 40), *departed]).panels
    best = {line.name: [c.is_best for c in line.cells] for line in panel.lines}
    assert best == {"b": [False, False], "a": [True, True]}
    [panel] = join("t", departed).panels  # among themselves they do
    assert all(c.is_best for c in panel.lines[0].cells)


def test_other_tasks_probes_and_lists_have_panels_of_their_own() -> None:
    records = [
        *curve("first", [20], 40),
        *curve("first", [20], 40, probe="knn"),
        *curve("first", [20], 40, task="other"),
        *curve("first", [20], 40, manifest="another test list"),
        made("first", 40, task="without few labels"),
    ]
    assert len(join("t", records).panels) == 4


def test_tables_of_whole_splits_are_not_taken_over_by_few_labels() -> None:
    board = Leaderboard(
        name="small", title="Small", columns=[Column(title="a", task="moving_digits_what",
        probe="attentive", protocol="honest@1")]
    )  # fmt: skip
    for records in (RECORDS, RECORDS[::-1]):
        table = tables.join(board, records)
        values = {row.name: row.cells[0].value for row in table.rows}
        assert values == {"first": 0.42, "second|x": 0.41, "noise": 0.12, "chance": 0.1}
        assert table.notes == ()


def test_few_labels_never_stand_for_an_encoder_that_has_all_though_its_plan_differs() -> None:
    departed = {"deviations": ("plan 16x8x3@4 instead of 16x2x3@4",)}
    later = {**departed, "created": "2025-09-01T00:00:00Z"}
    few = [made("other", 99, shots=1, draw=draw, **later) for draw in range(2)]
    records = [made("first", 40), made("second", 41), made("other", 50, **departed), *few]
    columns = [Column(title="a", task="moving_digits_what", probe="attentive")]
    board = Leaderboard(name="small", title="Small", columns=columns)
    table = tables.join(board, records)
    assert {row.name: row.cells[0].value for row in table.rows}["other"] == 0.5


# --------------------------------------------------------------------------------- page and picture
class Page(HTMLParser):
    """Collects ids, links and unbalanced elements of a page."""

    VOID = frozenset({"meta", "link", "br", "wbr"})

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str]]) -> None:
        facts = dict(attrs)
        self.ids += [facts["id"]] if "id" in facts else []
        self.links += [facts[key] for key in ("href", "xlink:href", "src") if key in facts]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    board = registry.build("boards", "low_shot", {"targets": "0.3,0.4"})
    paths = board.write(board, RECORDS, tmp_path_factory.mktemp("tables"))
    return {path.suffix: path for path in paths}


def test_page_is_well_formed_and_loads_nothing(files: dict[str, Path]) -> None:
    page = files[".html"].read_text(encoding="utf-8")
    parsed = Page()
    parsed.feed(page)
    assert parsed.open == [] and len(parsed.ids) == len(set(parsed.ids))
    targets = {link.removeprefix("#") for link in parsed.links if link.startswith("#")}
    assert targets <= set(parsed.ids) and {"cell-0-0-0", "cell-0-2-1"} <= targets
    assert [link for link in parsed.links if not link.startswith("#")] == ["data:,"]
    outside = re.sub(r'xmlns(:xlink)?="[^"]*"', "", page)
    assert not re.search(r"https?://|@import|url\((?!#)", outside)
    assert "second|x" in page and "± 1.7" in page and "324 (300 to 324)" in page


def test_page_tells_the_records_of_every_draw(files: dict[str, Path]) -> None:
    page = files[".html"].read_text(encoding="utf-8")
    for record in RECORDS:
        assert f"rerun with bench run records/{record.id}.json" in page
        assert record.data.fit.digest in page


def test_curves_take_the_colour_of_the_page_and_name_every_encoder(files: dict[str, Path]) -> None:
    svg = files[".svg"].read_text(encoding="utf-8")
    page = files[".html"].read_text(encoding="utf-8")
    assert page.count("<svg") == 1 and svg.count("currentColor") == page.count("currentColor") > 10
    assert "prefers-color-scheme:dark" in svg
    for words in ("first", "second|x", "noise", "chance", "training labels", ">40<", ">400<"):
        assert words in svg
    assert "<metadata" not in svg and "dc:date" not in svg
    with Image.open(files[".png"]) as image:
        assert image.format == "PNG" and image.getpixel((0, 0))[3] == 0  # nothing behind it
        assert image.width > 500  # fine enough for a page


def test_any_name_is_shown_as_it_is(tmp_path: Path) -> None:
    names = ('<b>a</b> & "b"', "$x_1^2$", "_mine", "two\\$")
    records = [r for i, name in enumerate(names) for r in curve(name, [20 + i], 40)]
    board = registry.build("boards", "low_shot", {})
    paths = {path.suffix: path for path in board.write(board, records, tmp_path)}
    parsed = Page()
    parsed.feed(paths[".html"].read_text(encoding="utf-8"))
    assert parsed.open == []
    svg = ElementTree.fromstring(paths[".svg"].read_text(encoding="utf-8"))
    assert set(names) <= {"".join(element.itertext()).strip() for element in svg.iter()}


def test_long_names_stay_within_the_picture() -> None:
    other = curve(
        "first", [20], 40, seed=1, deviations=("probe.weight_decay 0.5 instead of " + "1, " * 40,)
    )
    figure = _figure(join("t", [*curve("first", [20], 40), *other]))
    figure.draw_without_rendering()
    [legend] = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0
    assert figure.axes[0].get_window_extent().height > figure.dpi  # more than an inch


def test_panels_of_one_task_and_probe_are_told_apart() -> None:
    other = curve("first", [20], 40, protocol="vjepa@1")
    titles = [a.get_title() for a in _figure(join("t", [*curve("first", [20], 40), *other])).axes]
    assert titles == [
        f"Moving digits what · attentive\n{p}, n = 100" for p in ("honest@1", "vjepa@1")
    ]


def test_ten_encoders_are_drawn_in_ten_ways() -> None:
    board = join("t", [r for i in range(10) for r in curve(f"e{i}", [20], 40)])
    [axes] = _figure(board).axes
    drawn = [(line.get_color(), line.get_marker()) for line in axes.lines[:-1]]
    assert len(set(drawn)) == 10


def test_every_point_of_a_curve_lies_within_its_axes() -> None:
    """Panels of a task share their scale, and the highest may be drawn last."""
    board = join("t", [*RECORDS, *curve("first", [60, 70], 90, probe="zzz")])
    figure = _figure(board)
    assert len(figure.axes) == 2
    for axes, panel in zip(figure.axes, board.panels, strict=True):
        drawn = {tuple(y) for y in (line.get_ydata() for line in axes.lines)}
        for line in panel.lines:
            assert tuple(100 * accuracy for _, accuracy in line.curve) in drawn
        for curve_drawn in axes.lines[:-1]:  # the last one is chance, across
            for x, y in zip(curve_drawn.get_xdata(), curve_drawn.get_ydata(), strict=True):
                assert axes.get_xlim()[0] <= x <= axes.get_xlim()[1]
                assert axes.get_ylim()[0] <= y <= axes.get_ylim()[1]


def test_the_same_records_give_the_same_bytes_in_any_order(
    files: dict[str, Path], tmp_path: Path
) -> None:
    shuffled = RECORDS[:]
    random.Random(0).shuffle(shuffled)
    board = registry.build("boards", "low_shot", {"targets": (0.4, 0.3)})
    again = board.write(board, shuffled, tmp_path)
    assert [path.suffix for path in again] == [*SUFFIXES, ".svg", ".png"]
    for path in again:
        assert path.read_bytes() == files[path.suffix].read_bytes(), path.suffix


def test_without_few_labels_the_table_says_how_to_get_some(tmp_path: Path) -> None:
    board = registry.build("boards", "low_shot", {})
    for records in ([], [RECORDS[3]]):
        paths = board.write(board, records, tmp_path)
        assert [path.suffix for path in paths] == SUFFIXES
        assert "bench lowshot" in paths[0].read_text(encoding="utf-8")
        parsed = Page()
        parsed.feed(paths[4].read_text(encoding="utf-8"))
        assert parsed.open == []


def test_a_target_in_percent_is_refused() -> None:
    with pytest.raises(UsageError, match="target 80"):
        registry.build("boards", "low_shot", {"targets": "80"})


def test_board_of_a_real_study_on_moving_digits(tmp_path: Path) -> None:
    values = {"encoder": "pixel_mean", "task": "moving_digits_stills", "probe": ["linear", "knn"]}
    options = {"size": "small", "data": str(tmp_path)}
    configs = expand(
        {**values, "task_options": options}, ["probe.knn.k=1", "probe.linear.epochs=2"]
    )
    machine = Machine(home=tmp_path, device="cpu")
    outcomes = list(study(configs, machine, Silent(), fractions=(0.1, 1.0), shots=(1,), draws=2))
    assert len(outcomes) == 2 * (2 + 2 + 1)
    paths = write_board("low_shot", tmp_path, None, include_all=True).paths
    rows = pd.read_csv(paths[1])
    top1 = rows[rows.quantity == "top1"]
    for outcome in outcomes:
        record = outcome.record
        [row] = top1[top1.records.str.contains(record.id)].to_dict("records")
        assert row["probe"] == record.probe.name
        assert float(row["labels"]) == record.train_labels.used
        place = row["records"].split().index(record.id)
        shown = float(str(row["by_draw"]).split()[place])
        assert shown == pytest.approx(100 * record.headline, abs=1e-6)
    assert sorted(set(top1.share)) == ["1 shot", "10 %", "100 %"]
    assert "<svg" in paths[4].read_text(encoding="utf-8")


def test_the_command_takes_options_of_the_table_and_refuses_others(
    bench: Bench, tmp_path: Path
) -> None:
    folder = tmp_path / "home" / "records"
    folder.mkdir(parents=True)
    (folder / f"{sound_record().id}.json").write_text(sound_record().to_json())
    # The record proves nothing: the table is written without it and says so.
    assert bench("board", "low_shot", "--set", "targets=[0.5]")[0] == 5
    text = (tmp_path / "home" / "tables" / "low_shot.md").read_text(encoding="utf-8")
    assert f"Refused: {sound_record().id}.json failed verification: " in text
    for words, reason in (("target=[0.5]", "Did you mean 'targets'?"), ("targets", "has no '='")):
        code, _, error = bench("board", "low_shot", "--set", words)
        assert code == 2 and reason in error


def test_rows_left_out_of_the_count_do_not_compete_with_rows_counted_as_wrong() -> None:
    def lossy(encoder: str, correct: int, how: str, **facts: Any) -> Record:
        record = made(encoder, correct, unreadable=20, **facts)
        fields = record.model_dump()
        fields["config"]["on_unreadable"] = how
        if how == "skip":
            fields["metrics"]["top1"] = record.metrics.correct / record.metrics.scored
        return Record.model_validate({**fields, "id": id_of(fields)})

    skips = [lossy("skips", 40, "skip", fraction=0.1), lossy("skips", 60, "skip")]
    counts = [lossy("counts", 44, "wrong", fraction=0.1), lossy("counts", 64, "wrong")]
    [panel] = join("Label efficiency", [*skips, *counts]).panels
    # 40 of the 80 scored rows are 50 %, above 44 of 100, and another number.
    assert [
        (line.name.split()[0], [cell.is_best for cell in line.cells]) for line in panel.lines
    ] == [
        ("skips", [False, False]),
        ("counts", [True, True]),
    ]
    [alone] = join("Label efficiency", skips).panels
    assert [cell.is_best for cell in alone.lines[0].cells] == [True, True]


# ------------------------------------------------------------------------------------------- boxes
def boxes(encoder: str, mean_ap: float, videos: int, draw: int = 0, **how: Any) -> Record:
    """A record of boxes that was fitted on 10 boxes of each of so many videos, of 40."""
    metrics = box_metrics(mean_ap, rules=how.pop("rules", "official"))
    fields = box_fields(metrics=metrics, encoder=encoder, **how)
    asked = {"fraction": videos / 40, "draw": draw} if videos < 40 else {}
    fit = digest(f"videos {videos} {draw}") if asked else WHOLE
    fields["config"] = {**fields["config"], "task_options": asked}
    facts = {"digest": fit, "listed": 10 * videos, "used": 10 * videos}
    fields["data"]["fit"] |= {**facts, "boxes": {"videos": videos}}
    fields["train_labels"] = {
        "fraction": 1.0, "draw": 0, "used": 10 * videos, "least": 0, "most": 9, **asked,
    }  # fmt: skip
    whole = {"whole_sha256": WHOLE, "lost_classes": 1} if asked else {}
    fields["task"]["options"] = {"rule": "by video", **asked, **whole}
    fields["id"] = id_of(fields)
    return Record.model_validate(fields)


def test_boxes_have_a_panel_of_mean_ap_by_videos(tmp_path: Path) -> None:
    records = [
        *(boxes("first", ap, 4, draw) for draw, ap in enumerate((0.2, 0.22))),
        boxes("first", 0.42, 40),
    ]
    board = join("t", records)
    text = markdown(board)
    assert "frame mAP at IoU 0.5 in % · honest@1 · scored on val, n = 100 · 4 classes ·" in text
    assert "10 % (4 videos)" in text and "| 100 % (40 videos)" in text
    assert "boxes to 40 %" in text and "21.0 ± 1.4" in text
    assert "classes absent from the drawn videos: 1" in board.notes
    rows = rows_of(board)
    assert set(rows.quantity) == {"mean_ap", "area", "labels_to_reach"}
    made_board = registry.build("boards", "low_shot", {})
    page = {p.suffix: p for p in made_board.write(made_board, records, tmp_path)}
    held = page[".html"].read_text(encoding="utf-8")
    assert "training boxes" in held and ">frame mAP at IoU 0.5 (%)<" in held
    assert "chance" not in page[".svg"].read_text(encoding="utf-8") and "--chance:" not in held
    assert "with 40 boxes<br>" in held


def test_boxes_and_clips_share_a_page() -> None:
    board = join("t", [*RECORDS, boxes("first", 0.2, 4), boxes("first", 0.4, 40)])
    figure = _figure(board)
    assert {axes.get_ylabel() for axes in figure.axes} == {
        "frame mAP at IoU 0.5 (%)",
        "top-1 accuracy (%)",
    }
    assert "chance" in {text.get_text() for text in figure.legends[0].get_texts()}


def test_other_rules_or_files_of_boxes_have_a_panel_of_their_own() -> None:
    usual = [boxes("first", 0.2, 4), boxes("first", 0.4, 40)]
    other = [boxes("first", 0.2, 4, files={"excluded": digest("x")})]
    assert len(join("t", [*usual, *other]).panels) == 2
    other = [boxes("first", 0.2, 4, rules="slowfast", seed=1)]
    assert len(join("t", [*usual, *other]).panels) == 2
