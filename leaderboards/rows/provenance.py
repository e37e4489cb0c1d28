"""The provenance of a number: the facts of a record, as short lines a reader can check."""

from __future__ import annotations

from statistics import median

from bench.metrics.frame_rows import Fate
from bench.records.metrics import FrameMapPart, MetricsPart
from bench.records.record import Record, SplitPart
from leaderboards.rows.notes import best_on_score

SAMPLES_SHOWN = 5


def facts_of(record: Record) -> dict[str, list[str]]:
    """Return heading -> lines for the facts of a record, in the order of a run."""
    score = record.metrics
    facts = {
        "Record": [
            f"{record.id}, {record.created}; rerun with bench run records/{record.id}.json",
            *[record.caveat] * (record.status != "complete"),
            *record.marks,
        ],
        "Protocol": [
            f"{record.protocol.name}, digest {record.protocol.digest[:16]}",
            *(f"deviation: {deviation}" for deviation in record.protocol.deviations),
            *(f"departure: {departure}" for departure in record.protocol.departures),
        ],
        "Encoder": _encoder(record),
        "Training rows": _split(record.task.fit_split, record.data.fit),
        "Scored rows": _split(record.task.score_split, record.data.score),
        "Clips": [
            f"fit {record.plan.fit}, score {record.plan.score} (frames x clips x views @ stride),"
            f" {record.plan.sampler} sampler"
        ],
        "Features": _features(record),
        "Head": _head(record),
        "Result": _frame_map(score) if isinstance(score, FrameMapPart) else _accuracies(score),
        "Classes": _classes(score) if isinstance(score, FrameMapPart) else [],
        "Software": _software(record),
    }
    return {heading: lines for heading, lines in facts.items() if lines}


def _encoder(record: Record) -> list[str]:
    encoder, card, check = record.encoder, record.encoder.card, record.encoder.check
    lines = [
        f"{encoder.spec}, {encoder.num_parameters:,} parameters, width {encoder.width},"
        f" {encoder.num_frames} frames of {encoder.image_size} pixels",
        f"weights {encoder.weights_sha256 or 'none'}",
        f"from {encoder.source}",
    ]
    if card.trained_on:
        lines.append(f"pretrained on {', '.join(card.trained_on)} (labels used: {card.labels})")
    if card.licence != "unknown":
        lines.append(f"weights licence: {card.licence}")
    if check:
        lines.append(
            f"functional check {check.clip}: {check.sha256[:16]}, {check.num_tensors:,} tensors"
            " loaded"
        )
    return [*lines, *encoder.notes]


def _split(name: str | None, split: SplitPart | None) -> list[str]:
    if split is None:
        return ["none (released probe)"]
    published = "" if split.expected is None else f", {split.expected:,} published"
    lines = [
        f"{name}: {split.used:,} used of {split.listed:,} listed{published}",
        f"manifest {split.digest}",
    ]
    lines += [f"read from: {split.layout}"] * bool(split.layout)
    boxes = ", ".join(f"{name} {value}" for name, value in split.boxes.items())
    lines += [boxes] * bool(boxes)
    lines += split.notes
    lines += _some("missing", list(split.missing))
    lines += _some("undecodable", [f"{name} ({why})" for name, why in split.undecodable.items()])
    lines += _some("excluded", [f"{name} ({rule})" for name, rule in split.excluded.items()])
    return lines


def _some(what: str, samples: list[str]) -> list[str]:
    lines = [f"{what}: {sample}" for sample in samples[:SAMPLES_SHOWN]]
    if len(samples) > SAMPLES_SHOWN:
        lines.append(f"and {len(samples) - SAMPLES_SHOWN:,} more {what}, listed in the record")
    return lines


def _features(record: Record) -> list[str]:
    features = record.features
    decoders = ", ".join(f"{name} {count:,}" for name, count in sorted(features.decoders.items()))
    lines = [f"{features.mode}, computed in {features.precision}, stored as {features.dtype}"]
    lines += [f"fit key {features.fit_key}"] if features.fit_key else []
    lines += [f"score key {features.score_key}"]
    repeated = f"; {features.repeated_frames:,} frames repeated" if features.repeated_frames else ""
    outside = (
        f"; {features.boxes_outside:,} boxes outside the view" if features.boxes_outside else ""
    )
    return [*lines, f"decoded with {decoders or 'nothing'}{repeated}{outside}"]


def selection_lines(record: Record) -> list[str]:
    """Describe which head was reported, and how it was selected."""
    probe, chosen = record.probe, record.probe.selection
    settings = ", ".join(f"{key} {value}" for key, value in probe.heads[probe.selected].items())
    head = f"head {probe.selected + 1} of {len(probe.heads)} ({settings or 'default settings'})"
    if probe.released_sha256:  # nothing was trained with these settings
        head = f"head {probe.log['head']} of its file" if "head" in probe.log else "its only head"
    lines = [f"{probe.name} on {probe.reads}: {head}, rule {chosen.rule}"]
    if chosen.holdout_scores:
        score = chosen.holdout_scores[probe.selected]
        what = " mean AP" if record.task.unit == "box" else ""
        result = "dropped" if score is None else f"{100 * score:.1f} %{what}"
        lines.append(f"{result} on {chosen.holdout_rows:,} held-out training rows")
    return lines


def _head(record: Record) -> list[str]:
    probe, chosen = record.probe, record.probe.selection
    lines = selection_lines(record)
    scores = [score for score in chosen.score_split_scores if score is not None]
    if best_on_score(record):
        low, high = 100 * min(scores), 100 * max(scores)
        lines.append(
            f"{best_on_score(record)}; they score {low:.1f} to {high:.1f} % there, median"
            f" {100 * median(scores):.1f} %"
        )
    else:
        lines += optimism_lines(record)
    if probe.released_sha256:
        lines.append(f"released probe file {probe.released_sha256}")
    if probe.head_order:
        lines.append(f"classes reordered to match the task by {probe.head_order}")
    return lines


def optimism_lines(record: Record) -> list[str]:
    """Return what choosing the head on the scored rows would have added, if it is known."""
    optimism = record.optimism
    if optimism is None:
        return []
    is_kept = record.probe.selection.score_split_fit == "kept"
    return [
        f"choosing among {optimism.heads} heads on the scored rows instead would have added"
        f" {100 * optimism.gap:.1f} points: {100 * optimism.best:.1f} instead of"
        f" {100 * optimism.honest:.1f} % from the same fits"
        f"{' (trained without the held-out rows)' * is_kept}"
    ]


def _frame_map(score: FrameMapPart) -> list[str]:
    others = [
        f"{name} {'-' if value is None else f'{100 * value:.2f}'}"
        for name, value in score.by_rules.items()
    ]
    silent = f", {score.num_silent_frames:,} without detections" if score.num_silent_frames else ""
    wrong = score.num_wrong_by_frame
    return [
        f"frame mAP at IoU 0.5: {100 * score.mean_ap:.2f} by the {score.rules} rules"
        f" ({score.scored:,} boxes scored)",
        f"by the rules of {', '.join(others)}",
        *(f"undefined by the {name} rules: {reason}" for name, reason in score.undefined.items()),
        f"over all {score.expected:,} boxes between {100 * score.bounds.low:.2f}"
        f" and {100 * score.bounds.high:.2f}",
        f"{score.num_frames:,} annotated key frames{silent}",
        *([f"{wrong:,} detections on frames without ground truth count as wrong"] if wrong else []),
        f"ground truth: {_fate(score.truth)}",
        f"detections: {_fate(score.detections)}",
    ]


def _fate(fate: Fate) -> str:
    dropped = [
        f"{count:,} {name.replace('_', ' ')}"
        for name, count in fate.model_dump().items()
        if name not in ("rows", "scored") and count
    ]
    rest = f" ({', '.join(dropped)})" if dropped else ""
    return f"{fate.scored:,} of {fate.rows:,} rows compared{rest}"


def _classes(score: FrameMapPart) -> list[str]:
    ordered = sorted(score.classes, key=lambda one: (one.ap is None, -(one.ap or 0)))
    return [
        f"{'-' if one.ap is None else f'{100 * one.ap:.1f}'} {one.name} ({one.id}),"
        f" {one.num_truth:,} true boxes"
        for one in ordered
    ]


def _accuracies(score: MetricsPart) -> list[str]:
    top5 = "" if score.top5 is None else f", top-5 {100 * score.top5:.2f}"
    return [
        f"{score.correct:,} correct of {score.scored:,} scored: top-1 {100 * score.top1:.2f}{top5},"
        f" mean per class {100 * score.mean_per_class:.2f}",
        f"over all {score.expected:,} expected rows between {100 * score.bounds.low:.2f}"
        f" and {100 * score.bounds.high:.2f}",
        f"chance {100 * score.chance:.2f}, majority class {100 * score.majority:.2f}",
    ]


def _software(record: Record) -> list[str]:
    known = [
        f"{name} {record.environment[name]}"
        for name in ("frozenbench", "torch", "timm", "decord", "av", "device")
        if record.environment.get(name)
    ]
    line = ", ".join(text for text in (*known, commit_of(record)) if text)
    return [line] if line else []


def commit_of(record: Record) -> str:
    """Return the commit of the code, such as `commit 3f2a90b1c4d5`; empty if unknown."""
    commit = record.environment.get("git_commit")
    if not commit:
        return ""
    dirty = " with uncommitted changes" if record.environment.get("git_dirty") else ""
    return f"commit {str(commit)[:12]}{dirty}"
