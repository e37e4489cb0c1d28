"""Is the head that a record reports the one that its rule chooses, and are its scores possible?"""

from __future__ import annotations

from collections.abc import Sequence

from bench.records.metrics import MetricsPart
from bench.records.record import Result
from bench.verify.findings import Finding, all_of, failed, ok


def check_selection(result: Result, *, is_sealed: bool) -> Finding:
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
        problems += _no_shares(known, rows)
        problems += _beside(result, is_sealed=is_sealed)
    fine = f"head {probe.selected} of {len(scores)} is the best where heads were chosen"
    return all_of("selection", problems, fine)


def _no_shares(scores: Sequence[float | None], rows: int) -> list[str]:
    """Return a sentence on an accuracy that `rows` cannot give."""
    for score in scores:
        if score is not None and abs(score * rows - round(score * rows)) > 1e-6:
            return [f"a head has {score}, which is no share of {rows} rows"]
    return []


def _beside(result: Result, *, is_sealed: bool) -> list[str]:
    """Return what is wrong with the heads' accuracies on the score split."""
    chosen, metrics = result.probe.selection, result.metrics
    scores, by_score = chosen.score_split_scores, chosen.rule == "best_on_score"
    if not scores:
        return ["the heads were not counted on the score split"] if is_sealed else []
    problems = _no_shares(scores, metrics.scored)
    wanted = "all" if by_score else "kept"
    if chosen.score_split_fit != wanted:
        problems.append(f"score_split_fit is {chosen.score_split_fit!r}, by {chosen.rule} {wanted}")
    own = scores[result.probe.selected]
    if not by_score or own is None or not isinstance(metrics, MetricsPart):
        return problems
    # The same head: batches of another size may round a few rows to another class.
    if abs(own * metrics.scored - metrics.correct) > 1 + metrics.scored / 100:
        problems.append(
            f"head {result.probe.selected} is on record with {own} on the score split, and with"
            f" {metrics.correct} right of {metrics.scored}"
        )
    return problems
