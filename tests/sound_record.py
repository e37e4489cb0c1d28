"""Records made in memory: sound by default, with any part replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from bench.metrics.frame_map import ClassScore
from bench.metrics.frame_rows import Fate
from bench.records.metrics import Bounds, FrameMapPart
from bench.records.record import Record
from bench.records.run_id import RunIdentity


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def sound_fields(
    *,
    encoder: str = "vjepa_vitl16",
    weights: str | None = "ema",
    is_floor: bool = False,
    task: str = "moving_digits_what",
    probe: str = "attentive",
    protocol: str = "honest@1",
    correct: int = 71,
    rows: int = 100,
    unreadable: int = 0,
    expected: int | None = None,
    classes: int = 10,
    split: str = "test",
    manifest: str = "test list",
    fraction: float = 1.0,
    deviations: tuple[str, ...] = (),
    status: str = "complete",
    reasons: tuple[str, ...] = (),
    created: str = "2025-03-01T12:00:00Z",
    seed: int = 0,
) -> dict[str, Any]:
    """Return the fields of a record with `correct` right out of `rows` listed ones."""
    scored = rows - unreadable
    whole = rows if expected is None else expected
    config = {"encoder": f"{encoder}:{weights}", "task": task, "probe": probe, "seed": seed}
    config |= {"protocol": protocol, "manifest": manifest, "fraction": str(fraction)}
    keys = [digest(f"{encoder} {weights} {task} fit"), digest(f"{encoder} {weights} {task} score")]
    used = round(400 * fraction)
    settings = {"epochs": 20}
    heads = [{"lr": 1e-3, "weight_decay": 0.01}, {"lr": 3e-4, "weight_decay": 0.1}]
    fields: dict[str, Any] = {
        "schema_version": 5,
        "status": status,
        "reasons": reasons,
        "created": created,
        "config": config,
        "task": {
            "name": task,
            "title": task.replace("_", " ").capitalize(),
            "kind": "video",
            "fit_split": "train",
            "score_split": split,
            "metric": "top1",
            "num_classes": classes,
            "options": {"size": "small"},
        },
        "protocol": {"name": protocol, "digest": digest(protocol), "deviations": deviations},
        "encoder": {
            "spec": f"{encoder}:{weights}",
            "name": encoder,
            "source": "checkpoints/latest.pth.tar",
            "weights_sha256": digest(weights) if weights else None,
            "num_parameters": 303_000_000 if weights else 0,
            "width": 1024,
            "num_frames": 16,
            "image_size": 224,
            "is_floor": is_floor,
            "notes": ["weights of the target encoder"],
        },
        "plan": {"fit": "16x2x1@4", "score": "16x2x3@4", "sampler": "plain"},
        "data": {
            "fit": {
                "digest": digest("train list"),
                "listed": used,
                "expected": None,
                "used": used,
                "missing": [],
                "undecodable": {},
            },
            "score": {
                "digest": digest(manifest),
                "listed": rows,
                "expected": expected,
                "used": scored,
                "missing": [],
                "undecodable": {f"clip_{i}": "no video stream" for i in range(unreadable)},
            },
        },
        "features": {
            "fit_key": keys[0],
            "score_key": keys[1],
            "mode": "stored",
            "dtype": "float16",
            "precision": "fp32",
            "decoders": {"decord": 400 + scored},
            "repeated_frames": 3,
            "decoded": 500,
            "encoder_calls": 64,
            "rows_from_store": 0,
        },
        "train_labels": {"fraction": fraction, "draw": 0, "used": used},
        "probe": {
            "name": probe,
            "reads": "tokens",
            "settings": settings,
            "heads": heads,
            "selected": 1,
            "selection": {
                "rule": "honest",
                "holdout_rows": 40,
                "holdout_scores": [0.5, 0.625],
                "score_split_scores": [],
            },
            "log": {"loss": [2.3, 0.7]},
        },
        "metrics": {
            "top1": correct / rows,
            "top5": None,
            "mean_per_class": correct / rows,
            "correct": correct,
            "scored": scored,
            "expected": whole,
            "bounds": {"low": correct / whole, "high": (correct + whole - scored) / whole},
            "chance": 1 / classes,
            "majority": 0.12,
        },
        "timing": {
            "decode_seconds": 4.0,
            "encode_seconds": 9.0,
            "fit_seconds": 2.0,
            "score_seconds": 0.5,
            "total_seconds": 12.0,
        },
        "environment": {"frozenbench": "0.1.0", "torch": "2.11.0", "git_dirty": False},
        "artifacts": {"predictions": None, "probe": None},
    }
    return {**fields, "id": id_of(fields)}


def id_of(fields: Mapping[str, Any]) -> str:
    """Return the id that follows from the fields of a record."""
    features, fit, probe = fields["features"], fields["data"]["fit"], fields["probe"]
    return RunIdentity(
        config=fields["config"],
        feature_keys=[features["fit_key"], features["score_key"]],
        data_digests=[fit and fit["digest"], fields["data"]["score"]["digest"]],
        protocol_digest=fields["protocol"]["digest"],
        probe={"settings": probe["settings"], "heads": probe["heads"]},
        released_sha256=probe.get("released_sha256"),
        head_order=probe.get("head_order"),
        mode=features["mode"],
        files=fields["task"].get("files"),
    ).id


def sound_record(**changes: Any) -> Record:
    return Record.model_validate(sound_fields(**changes))


def box_fields(
    *, metrics: FrameMapPart, files: Mapping[str, str] | None = None, **changes: Any
) -> dict[str, Any]:
    """Return the fields of a record whose rows are boxes, with the frame mAP given."""
    facts = {"task": "ava", "correct": 0, "rows": metrics.expected, "split": "val"}
    lost = metrics.expected - metrics.scored
    fields = sound_fields(**{**facts, "unreadable": lost, **changes})
    named = {"ground_truth": digest("ava_val.csv"), **(files or {})}
    fields["task"] |= {"metric": "mean_ap", "unit": "box", "files": named, "num_classes": 4}
    boxes = {"threshold": 0.8, "boxes": metrics.expected, "key_frames": 2, "videos": 1}
    fields["data"]["score"]["boxes"] = boxes
    fields["metrics"] = metrics.model_dump()
    fields["id"] = id_of(fields)
    return fields


def box_metrics(mean_ap: float, *, rules: str = "official", lost: int = 0) -> FrameMapPart:
    """Return a frame mAP of 100 boxes, `lost` of them not scored, over two classes."""
    counts = {"rows": 40, "excluded": 0, "other_classes": 0, "scored": 40}
    return FrameMapPart(
        mean_ap=mean_ap,
        rules=rules,
        by_rules={"official": mean_ap, "slowfast": mean_ap, "mmaction2": mean_ap},
        classes=tuple(
            ClassScore(id=key, name=name, ap=mean_ap, num_truth=20, num_detections=100 - lost)
            for key, name in ((1, "stand"), (3, "sit"))
        ),
        truth=Fate(**counts),
        detections=Fate(**{**counts, "rows": 200 - 2 * lost, "scored": 200 - 2 * lost}),
        num_frames=30,
        num_silent_frames=0,
        num_wrong_by_frame=0,
        scored=100 - lost,
        expected=100,
        bounds=Bounds(low=mean_ap * (1 - lost / 100), high=mean_ap + (1 - mean_ap) * lost / 100),
    )


def box_record(mean_ap: float, *, lost: int = 0, rules: str = "official", **changes: Any) -> Record:
    """Return a sound record of 100 boxes."""
    metrics = box_metrics(mean_ap, rules=rules, lost=lost)
    return Record.model_validate(box_fields(metrics=metrics, **changes))
