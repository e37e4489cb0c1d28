"""Is the head that a record reports the one that its rule chooses, and are its scores possible?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.records.metrics import MetricsPart
from bench.records.record import Record
from bench.verify.findings import Finding, all_of, failed, ok


def check_selection(result: Record, *, is_sealed: bool) -> Finding:
    """Say whether the head that was reported is the one that its rule chooses."""
    probe, chosen = result.probe, result.probe.selection
    if len(probe.heads) == 1 or probe.released_sha256 is not None:
        return ok("selection", "there was nothing to choose")
    rows, scores = chosen.holdout_rows, chosen.holdout_scores
    by_score = chosen.rule == "best_on_score"
    if by_score:
        rows, scores = result.metrics.scored, chosen.score_split_scores
    known = [score for score in scores if score is not None]
    if not known:
        sentence = f"nothing says by what one of {len(probe.heads)} heads was chosen"
        return failed("selection", sentence)
    problems = []
    first = scores.index(max(known))
    if first != probe.selected:
        problems.append(
            f"head {probe.selected} is reported, with {scores[probe.selected]} where heads were"
            f" chosen, but head {first} has {max(known)}"
        )
    if not by_score and result.data.fit and not 0 < rows < result.data.fit.used:
        problems.append(f"{rows} of {result.data.fit.used} training rows were held out")
    if isinstance(result.metrics, MetricsPart):
        problems += _no_share(known, rows)
        if chosen.score_split_scores:
            problems += _on_score_split(result, result.metrics)
        elif is_sealed:
            problems.append("the heads were not counted on the score split")
    fine = f"head {probe.selected} of {len(scores)} is the best where heads were chosen"
    return all_of("selection", problems, fine)


def _no_share(scores: Sequence[float | None], rows: int) -> list[str]:
    """Return a sentence on the first accuracy that `rows` cannot give."""
    for score in scores:
        if score is not None and abs(score * rows - round(score * rows)) > 1e-6:
            return [f"a head has {score}, which is no share of {rows} rows"]
    return []


def _on_score_split(result: Record, metrics: MetricsPart) -> Iterator[str]:
    """Yield what is wrong with the heads' accuracies on the score split."""
    chosen, selected = result.probe.selection, result.probe.selected
    own, by_score = chosen.score_split_scores[selected], chosen.rule == "best_on_score"
    yield from _no_share(chosen.score_split_scores, metrics.scored)
    wanted = "all" if by_score else "kept"
    if chosen.score_split_fit != wanted:
        yield f"score_split_fit is {chosen.score_split_fit!r}, by {chosen.rule} {wanted}"
    # The same head: batches of another size may round a few rows to another class.
    most = 1 + metrics.scored / 100
    if by_score and own is not None and abs(own * metrics.scored - metrics.correct) > most:
        yield (
            f"head {selected} is on record with {own} on the score split, and with"
            f" {metrics.correct} right of {metrics.scored}"
        )
