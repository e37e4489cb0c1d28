"""Tables as LaTeX: read strictly, and compiled where there is a LaTeX."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.metrics.intervals import Interval
from bench.publish.leaderboard import Column, Leaderboard, PublishedNumber
from leaderboards.render.latex import escaped
from leaderboards.rows.join import join
from leaderboards.rows.table import Fact, Seeds, Table, TableCell, TableHead, TableRow
from tests.leaderboards.latex_check import check_latex
from tests.leaderboards.tables import latex_text
from tests.sound_record import sound_record

PDFLATEX = shutil.which("pdflatex")
NASTY = "[a_b] & 50% of #1 {x} $y^2$ ~ <\\z|> -- ± é 网"
PRINTED = PublishedNumber(
    source="paper", table="6", method="V-JEPA", arch="ViT-L/16", resolution=224, params_m=300.0,
    pretrain_data="VM2M", samples_seen_m="", task="k400", views="16x8x3", probe="attentive",
    train_fraction=1.0, metric="top1", value=80.8, std=None,
)  # fmt: skip


def compiled(text: str, folder: Path) -> str:
    """Compile a document of the tables and return the log."""
    assert PDFLATEX
    document = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    (folder / "tables.tex").write_text(f"{document}\n{text}\n\\end{{document}}\n", encoding="utf-8")
    command = [PDFLATEX, "-halt-on-error", "-interaction=nonstopmode", "-draftmode", "tables.tex"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    log = ran.stdout.decode(errors="replace")
    assert ran.returncode == 0, log[-3000:]
    return log


def small() -> Table:
    columns = [
        Column(title=probe, task="what", probe=probe, protocol="honest@1")
        for probe in ("attentive", "k_nn & more")
    ]
    board = Leaderboard(name="small_one", title=f"Board {NASTY}", columns=columns)
    records = [
        sound_record(encoder="tie_1", task="what", correct=80, unreadable=1),
        sound_record(encoder="tie_2", task="what", correct=80, protocol="honest@1"),
        sound_record(encoder=NASTY, task="what", correct=90, protocol="vjepa@1"),
        sound_record(encoder="tie_1", task="what", probe="k_nn & more", correct=60),
        sound_record(encoder="random", is_floor=True, task="what", correct=12),
        sound_record(encoder="*star", task="what", correct=50, deviations=(f"100 % {NASTY}",)),
    ]
    return join(board, records)


def published() -> Table:
    """One grid of facts, a paper's rows and a measured one."""
    column = Column(title="K400", task="k400", probe="attentive")
    low = PublishedNumber(**{**PRINTED.__dict__, "value": 67.98, "std": 0.3})
    record = sound_record(correct=799, rows=1000)
    cells = (
        TableCell(published=PRINTED, published_is_best=True),
        TableCell(published=low),
        TableCell(
            value=0.799,
            record=record,
            is_best=True,
            interval=Interval(low=0.773, high=0.823, method="Wilson"),
            seeds=Seeds(values={0: 0.797, 1: 0.801}),
            published=PRINTED,
        ),
        TableCell(),
    )
    kinds = ("published", "published", "published", "chance")
    rows = tuple(
        TableRow(kind=kind, name=f"row {i}", record=cell.record, cells=(cell,),
            facts=(Fact(text="ViT-L/16 & 300 M", plain="x", value=1.0),))
        for i, (kind, cell) in enumerate(zip(kinds, cells, strict=True))
    )  # fmt: skip
    head = TableHead(column=column, protocol=None, reference=record)
    return Table(
        name="paper",
        title="A paper's table 6",
        heads=(head,),
        rows=rows,
        notes=(),
        hidden=0,
        facts=("arch",),
        refused=("x.json failed verification: 5 % off",),
    )


def test_a_table_reads_as_latex_with_best_in_bold_ties_and_footnotes() -> None:
    text = latex_text(small())
    [rows] = check_latex(text)
    numbers = {row[0]: row[1:] for row in rows}
    assert numbers["Encoder"] == ["attentive", r"k\_nn \& more"]
    assert numbers[r"tie\_1"][0].startswith(r"\textbf{80.0}$^{")
    assert numbers[r"tie\_2"][0].startswith(r"\textbf{80.0}{\scriptsize")
    nasty = "{}" + escaped(NASTY)
    assert numbers[nasty][0].startswith("90.0$^{1}$") and numbers[nasty][1] == "--"
    assert numbers[r"\emph{floors}"] == ["", ""]
    assert numbers[r"\emph{chance}"] == ["10.0", "10.0"]
    assert "{}*star" in numbers
    for number in range(1, 4):
        assert f"\n$^{{{number}}}$ " in text
    # What was measured, by which protocol and on which split, stands in the caption.
    assert "honest@1" in text.split(r"\caption{")[1].split("\n")[0]
    assert "scored on test, n = 100" in text.split(r"\caption{")[1].split("\n")[0]
    assert r"\label{tab:small-one-1}" in text


def test_special_signs_are_escaped() -> None:
    assert escaped("50% of #1_x & {$}^~\\") == (
        r"50\% of \#1\_x \& \{\$\}\textasciicircum{}\textasciitilde{}\textbackslash{}"
    )
    assert escaped("--yes – ±\n網") == "-{}-yes -- $\\pm$ [U+7DB2]"  # noqa: RUF001


def test_published_numbers_stand_beside_measured_ones() -> None:
    [rows] = check_latex(latex_text(published()))
    assert [row[2] for row in rows[1:]] == [
        "K400",
        r"\textbf{80.8}$^\dagger$",
        r"67.98$^\dagger${\scriptsize\,$\pm$\,0.3}",
        r"\textbf{79.9}{\scriptsize\,$\pm$\,2.6} (2 seeds{\scriptsize\,$\pm$\,0.3})"
        r" (80.8$^\dagger$, $-$0.9)",
        "--",
    ]


def test_a_board_without_records_is_a_comment() -> None:
    board = Leaderboard(name="none", title="None\n& nothing", columns=())
    text = latex_text(join(board, []))
    assert all(line.startswith("% ") for line in text.splitlines()) and "No records yet" in text


@pytest.mark.skipif(PDFLATEX is None, reason="needs pdflatex on PATH")
@pytest.mark.parametrize("table", [small, published])
def test_latex_compiles(table: Callable[..., Table], tmp_path: Path) -> None:
    log = compiled(latex_text(table()), tmp_path)
    assert "Missing character" not in log and "Overfull" not in log


@pytest.mark.parametrize(
    "broken",
    [
        (r"\bottomrule", r"\bottomrule & 3 \\"),
        ("attentive", "attentive & more"),
        (r"\end{minipage}", ""),
        (r"\textbf{80.0}", r"\textbf{80.0"),
        (r"k\_nn", "k_nn"),
        (r"\&", "&"),
        (r"50\%", "50%"),
        ("$^{1}$", "^{1}"),
        (r"\midrule", r"\middlerule"),
        ("{}[a", "[a"),
    ],
)
def test_the_check_finds_what_latex_would_stop_at(broken: tuple[str, str]) -> None:
    text = latex_text(small())
    assert broken[0] in text
    with pytest.raises(AssertionError):
        check_latex(text.replace(*broken))
