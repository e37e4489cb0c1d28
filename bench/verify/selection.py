"""Check that a record reports the head that its rule chooses, and that its scores are possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.records.metrics import MetricsPart
from bench.records.record import Record
from bench.verify.findings import Finding, all_of, failed, ok


def check_selection(record: Record, *, is_sealed: bool) -> Finding:
    """Check whether the reported head is the one that the record's rule chooses."""
    probe, chosen = record.probe, record.probe.selection
    if len(probe.heads) == 1 or probe.released_sha256 is not None:
        return ok("selection", "there was only one head")
    rows, scores = chosen.holdout_rows, chosen.holdout_scores
    by_score = chosen.rule == "best_on_score"
    if by_score:
        rows, scores = record.metrics.scored, chosen.score_split_scores
    known = [score for score in scores if score is not None]
    if not known:
        return failed("selection", f"no scores to choose one of {len(probe.heads)} heads by")
    problems = []
    first = scores.index(max(known))
    if first != probe.selected:
        problems.append(
            f"head {probe.selected} is reported, with {scores[probe.selected]} on the rows that"
            f" heads were chosen on, but head {first} has {max(known)}"
        )
    if not by_score and record.data.fit and not 0 < rows < record.data.fit.used:
        problems.append(f"{rows} of {record.data.fit.used} training rows were held out")
    if isinstance(record.metrics, MetricsPart):
        problems += _no_share(known, rows)
        if chosen.score_split_scores:
            problems += _on_score_split(record, record.metrics)
        elif is_sealed:
            problems.append("the heads have no scores on the score split")
    fine = f"head {probe.selected} of {len(scores)} is the best on the rows to choose on"
    return all_of("selection", problems, fine)


def _no_share(scores: Sequence[float | None], rows: int) -> list[str]:
    """Describe the first accuracy that is not a multiple of 1 / `rows`."""
    for score in scores:
        if score is not None and abs(score * rows - round(score * rows)) > 1e-6:
            return [f"a head has {score}, which is not a share of {rows} rows"]
    return []


def _on_score_split(record: Record, metrics: MetricsPart) -> Iterator[str]:
    """Yield what is wrong with the heads' accuracies on the score split."""
    chosen, selected = record.probe.selection, record.probe.selected
    score, by_score = chosen.score_split_scores[selected], chosen.rule == "best_on_score"
    yield from _no_share(chosen.score_split_scores, metrics.scored)
    expected = "all" if by_score else "kept"
    if chosen.score_split_fit != expected:
        yield f"score_split_fit is {chosen.score_split_fit!r}, but {chosen.rule} has {expected!r}"
    # Another batch size may round a few rows to another class.
    most = 1 + metrics.scored / 100
    if by_score and score is not None and abs(score * metrics.scored - metrics.correct) > most:
        yield (
            f"head {selected} has {score} on the score split, but {metrics.correct} of"
            f" {metrics.scored} rows are correct"
        )
