"""How a number came about, as short lines a reader can check: the facts of a record in words."""

from __future__ import annotations

from statistics import median

from bench.metrics.frame_rows import Fate
from bench.records.metrics import FrameMapPart, MetricsPart
from bench.records.record import Record, SplitPart
from leaderboards.rows.notes import best_on_score, status_note

SAMPLES_SHOWN = 5


def facts_of(record: Record) -> dict[str, list[str]]:
    """Return heading -> lines for the facts of a record, in the order in which a run makes them."""
    own = record.metrics
    facts = {
        "Record": [
            f"{record.id}, {record.created}, run again with: bench run records/{record.id}.json",
            *[status_note(record)] * (record.status != "complete"),
        ],
        "Protocol": [
            f"{record.protocol.name}, digest {record.protocol.digest[:16]}",
            *(f"departs: {deviation}" for deviation in record.protocol.deviations),
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
        "Result": _frame_map(own) if isinstance(own, FrameMapPart) else _accuracies(own),
        "Classes": _classes(own) if isinstance(own, FrameMapPart) else [],
        "Software": _software(record),
    }
    return {heading: lines for heading, lines in facts.items() if lines}


def _encoder(record: Record) -> list[str]:
    """Return what an encoder is, how it was made, and what it gave for the clip of the check."""
    encoder, card, check = record.encoder, record.encoder.card, record.encoder.check
    lines = [
        f"{encoder.spec}, {encoder.num_parameters:,} parameters, width {encoder.width},"
        f" {encoder.num_frames} frames of {encoder.image_size} pixels",
        f"weights {encoder.weights_sha256 or 'none'}",
        f"from {encoder.source}",
    ]
    if card.trained_on:
        lines.append(f"pretrained on {', '.join(card.trained_on)}, labels of them: {card.labels}")
    if card.licence != "unknown":
        lines.append(f"licence of the weights: {card.licence}")
    if check:
        lines.append(
            f"functional check {check.clip}: {check.sha256[:16]}, {check.num_tensors:,} tensors"
            " loaded"
        )
    return [*lines, *encoder.notes]


def _split(name: str | None, split: SplitPart | None) -> list[str]:
    if split is None:
        return ["none: a released probe was scored"]
    published = "" if split.expected is None else f", {split.expected:,} published"
    lines = [
        f"{name}: {split.used:,} used of {split.listed:,} listed{published}",
        f"manifest {split.digest}",
    ]
    lines += [f"read from: {split.layout}"] * bool(split.layout)
    boxes = ", ".join(f"{name} {value}" for name, value in split.boxes.items())
    lines += [boxes] * bool(boxes)
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
    own = record.features
    decoders = ", ".join(f"{name} {count:,}" for name, count in sorted(own.decoders.items()))
    lines = [f"{own.mode}, computed in {own.precision}, kept as {own.dtype}"]
    lines += [f"fit key {own.fit_key}"] if own.fit_key else []
    lines += [f"score key {own.score_key}"]
    repeated = f"; {own.repeated_frames:,} frames repeated" if own.repeated_frames else ""
    outside = f"; {own.boxes_outside:,} boxes outside of the view" if own.boxes_outside else ""
    return [*lines, f"decoded with {decoders or 'nothing'}{repeated}{outside}"]


def selection_lines(record: Record) -> list[str]:
    """Say which head was reported, and what chose it."""
    probe, chosen = record.probe, record.probe.selection
    settings = ", ".join(f"{key} {value}" for key, value in probe.heads[probe.selected].items())
    which = f"head {probe.selected + 1} of {len(probe.heads)}"
    which = f"{which} ({settings or 'no settings of its own'})"
    if probe.released_sha256:  # the settings are those of a fit that never was
        which = f"head {probe.log['head']} of its file" if "head" in probe.log else "the one head"
    lines = [f"{probe.name} on {probe.reads}: {which}, rule {chosen.rule}"]
    if chosen.holdout_scores:
        held = chosen.holdout_scores[probe.selected]
        what = " mean AP" if record.task.unit == "box" else ""
        said = "was dropped" if held is None else f"had {100 * held:.1f} %{what}"
        lines.append(f"it {said} on {chosen.holdout_rows:,} held-out training rows")
    return lines


def _head(record: Record) -> list[str]:
    probe, chosen = record.probe, record.probe.selection
    lines = selection_lines(record)
    scores = [score for score in chosen.score_split_scores if score is not None]
    if best_on_score(record):
        low, high = 100 * min(scores), 100 * max(scores)
        lines.append(
            f"{best_on_score(record)}; they have {low:.1f} to {high:.1f} % there, median"
            f" {100 * median(scores):.1f} %"
        )
    elif record.optimism:
        own = record.optimism
        lines.append(
            f"choosing among {own.heads} heads on the scored rows instead would have added"
            f" {100 * own.gap:.1f} points: {100 * own.best:.1f} instead of {100 * own.honest:.1f} %"
            " from the same fits"
        )
    if probe.released_sha256:
        lines.append(f"released probe file {probe.released_sha256}")
    if probe.head_order:
        lines.append(f"classes put in the task's order by {probe.head_order}")
    return lines


def _frame_map(own: FrameMapPart) -> list[str]:
    others = [
        f"{name} {'-' if value is None else f'{100 * value:.2f}'}"
        for name, value in own.by_rules.items()
    ]
    silent = f", {own.num_silent_frames:,} of them without" if own.num_silent_frames else ""
    wrong = own.num_wrong_by_frame
    return [
        f"frame mAP at IoU 0.5 {100 * own.mean_ap:.2f} by the {own.rules} rules"
        f" ({own.scored:,} boxes scored)",
        f"by the rules of {', '.join(others)}",
        *(f"none by the rules of {name}: {reason}" for name, reason in own.undefined.items()),
        f"over all {own.expected:,} boxes between {100 * own.bounds.low:.2f}"
        f" and {100 * own.bounds.high:.2f}",
        f"{own.num_frames:,} key frames with detections{silent}",
        *([f"{wrong:,} detections on frames without ground truth are wrong"] if wrong else []),
        f"ground truth: {_fate(own.truth)}",
        f"detections: {_fate(own.detections)}",
    ]


def _fate(fate: Fate) -> str:
    """Say how many rows were compared, and which rules dropped the others."""
    dropped = [
        f"{count:,} {name.replace('_', ' ')}"
        for name, count in fate.model_dump().items()
        if name not in ("rows", "scored") and count
    ]
    rest = f" ({', '.join(dropped)})" if dropped else ""
    return f"{fate.scored:,} of {fate.rows:,} rows compared{rest}"


def _classes(own: FrameMapPart) -> list[str]:
    """Return the AP of every class, best first."""
    ordered = sorted(own.classes, key=lambda one: (one.ap is None, -(one.ap or 0)))
    return [
        f"{'-' if one.ap is None else f'{100 * one.ap:.1f}'} {one.name} ({one.id}),"
        f" {one.num_truth:,} true boxes"
        for one in ordered
    ]


def _accuracies(own: MetricsPart) -> list[str]:
    top5 = "" if own.top5 is None else f", top-5 {100 * own.top5:.2f}"
    return [
        f"{own.correct:,} right of {own.scored:,} scored: top-1 {100 * own.top1:.2f}{top5},"
        f" mean per class {100 * own.mean_per_class:.2f}",
        f"over all {own.expected:,} expected rows between {100 * own.bounds.low:.2f}"
        f" and {100 * own.bounds.high:.2f}",
        f"chance {100 * own.chance:.2f}, always the most frequent class {100 * own.majority:.2f}",
    ]


def _software(record: Record) -> list[str]:
    known = [
        f"{name} {record.environment[name]}"
        for name in ("frozenbench", "torch", "timm", "decord", "av", "device")
        if record.environment.get(name)
    ]
    told = ", ".join(text for text in (*known, commit_of(record)) if text)
    return [told] if told else []


def commit_of(record: Record) -> str:
    """Return the commit of the code, such as `commit 3f2a90b1c4d5`; empty where unknown."""
    commit = record.environment.get("git_commit")
    if not commit:
        return ""
    dirty = " with uncommitted changes" if record.environment.get("git_dirty") else ""
    return f"commit {str(commit)[:12]}{dirty}"
