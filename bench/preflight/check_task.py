"""Check a task's files before spending GPU time, by decoding the frames that will be used."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.config import Machine, expand
from bench.data.boxes.check_boxes import check_boxes, look_at_key_frames
from bench.data.boxes.regions import Regions
from bench.data.check import CheckReport, check_manifest
from bench.data.decode.children import DecodingChildren
from bench.data.decode.decode import decoder_versions, read_frames
from bench.data.decode.images import picture_versions, read_image
from bench.data.manifest import Manifest, Task
from bench.data.media.checked_before import remembered_looks
from bench.data.media.in_both_splits import overlap_note
from bench.data.media.media import Media
from bench.data.views.clip_frames import KEYFRAME, frame_indices, repeated_frames
from bench.files import write_whole
from bench.launch.work_claims import sweep
from bench.preflight.settle import settled_task_options
from bench.preflight.task_contract import build_task
from bench.types import ClipPlan, IntArray, Kind, Progress


def check_task(
    name: str,
    settings: Sequence[str],
    machine: Machine,
    progress: Progress,
    *,
    plan: str | None = None,
    seconds: float | None = None,
) -> dict[str, CheckReport]:
    """Check both splits of a task; return the reports by split name.

    The frames of `plan` (default: the task's own) are decoded in `machine.workers` processes; a
    file that takes longer than `seconds` (60) counts as undecodable. Outcomes are cached in the
    home folder, so a killed check resumes and a second one is quick. For boxes, three key frames
    per video are decoded. Scored media that are also in the training split are noted.

    Raises:
        UsageError: no such task or option.
        DataError: the annotations cannot be read.
    """
    sweep(machine.home)
    task = task_of(name, settings, machine)
    fit, score = task.fit_plan, task.score_plan
    if plan is not None and task.kind == "video":
        score = ClipPlan.parse(plan)
        fit = replace(score, num_views=1)
    workers = max(1, machine.workers)
    notes = machine.home / "checks" / "looks.sqlite"
    reports = {}
    by_child = decode_planned if task.unit == "clip" else look_only
    with DecodingChildren(by_child, workers=workers, seconds=seconds) as children:
        for manifest, plan_ in ((task.fit, fit), (task.score, score)):
            with remembered_looks(notes, _check_facts(plan_, task)) as looks:
                if manifest.regions is not None:
                    reports[manifest.split] = check_boxes(
                        manifest,
                        workers=workers,
                        progress=progress,
                        look=partial(
                            _decode_key_frames,
                            children.decode,
                            plan=plan_,
                            **_position_in_file(manifest.regions),
                        ),
                        looks=looks,
                        stop=children.end,
                    )
                    continue
                reports[manifest.split] = check_manifest(
                    manifest,
                    workers=workers,
                    progress=progress,
                    decode=partial(children.decode, plan=plan_, kind=task.kind),
                    looks=looks,
                    stop=children.end,
                )
    shared = overlap_note(task.fit, task.score, machine.home / "media.sqlite", progress)
    last = reports[task.score.split]
    reports[task.score.split] = replace(last, notes=(*last.notes, *shared))
    return reports


def check_planned(
    manifest: Manifest,
    plan: ClipPlan,
    *,
    workers: int,
    progress: Progress,
    on_decoded: Callable[[Media, str, int], None],
) -> CheckReport:
    """Decode everything that `plan` takes from a split, and report unreadable files.

    `on_decoded(medium, decoder, repeated_frames)` is called from several threads. For boxes, every
    key frame is decoded.
    """
    regions = manifest.regions
    by_child = decode_planned if regions is None else look_at_key_frames
    with DecodingChildren(by_child, workers=workers) as children:
        if regions is None:

            def decode(media: Media) -> None:
                on_decoded(media, *children.decode(media, plan=plan, kind=manifest.kind))

            return check_manifest(
                manifest, workers=workers, progress=progress, decode=decode, stop=children.end
            )

        def look(media: Media, micros: IntArray) -> Mapping[int, str]:
            place = _position_in_file(regions)
            answer = children.decode(media, micros=micros, plan=plan, every=True, **place)
            found, decoder, repeated = answer
            if decoder:
                on_decoded(media, decoder, repeated)
            return dict(found)

        return check_boxes(
            manifest, workers=workers, progress=progress, look=look, stop=children.end
        )


def task_of(name: str, settings: Sequence[str], machine: Machine) -> Task:
    """Build a task from `option=value` settings, without an encoder or a probe.

    Raises:
        UsageError: no such task or option.
        DataError: the annotations cannot be read.
    """
    prefixed = [s if s.startswith("task.") else f"task.{s}" for s in settings]
    [config] = expand({"encoder": "none", "task": name, "probe": "none"}, prefixed)
    return build_task(name, settled_task_options(config, machine))


def write_reports(reports: Mapping[str, CheckReport], folder: Path) -> list[Path]:
    """Write every report as JSON (full lists) and as a Markdown table; return the files."""
    paths = []
    for report in reports.values():
        stem = f"{report.name}-{report.split}".replace("/", "-").replace(" ", "-")
        lines = [f"# {report.name} {report.split}", "", "| what | found |", "| :-- | :-- |"]
        lines += [
            f"| {what} | {value.replace('|', '/')} |" for what, value in report.as_table_rows()
        ]
        for suffix, text in (
            (".json", json.dumps(report.as_dict(), indent=1)),
            (".md", "\n".join(lines)),
        ):
            paths.append(folder / (stem + suffix))
            write_whole(paths[-1], f"{text}\n".encode())
    return paths


def _check_facts(plan: ClipPlan, task: Task) -> str:
    """Return the key of cached outcomes: they hold for the same frames and decoders only."""
    facts: dict[str, Any] = picture_versions()
    if task.kind == "video":
        sampler = plan.sampler if task.unit == "clip" else KEYFRAME
        facts |= {"plan": str(plan), "sampler": sampler, "decoders": decoder_versions("auto")}
    return json.dumps(facts, sort_keys=True)


def decode_planned(media: Media, *, plan: ClipPlan, kind: Kind) -> tuple[str, int]:
    """Decode what `plan` takes from one file; return the decoder and the number of repeated frames.

    Raises:
        UnreadableMedia: it cannot be decoded.
    """
    if kind == "image":
        read_image(media)
        return "pillow", 0
    frames = read_frames(media, lambda num_frames, fps: frame_indices(plan, num_frames))
    return frames.decoder, repeated_frames(frames.index)


def look_only(media: Media, *, micros: IntArray, **place: Any) -> dict[int, str]:
    """Return why key frames of one video cannot be read, see `look_at_key_frames`."""
    return look_at_key_frames(media, micros, **place)[0]


def _decode_key_frames(
    decode: Callable[..., Any], media: Media, micros: IntArray, **place: Any
) -> Mapping[int, str]:
    found: dict[int, str] = decode(media, micros=micros, **place)
    return found


def _position_in_file(regions: Regions) -> dict[str, Any]:
    """Return the arguments of `look_at_key_frames` that locate key frames in a file."""
    return {"start": regions.start, "frame_rate": regions.frame_rate}
