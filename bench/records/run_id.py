"""The id of a run: a digest of everything that decides its number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bench.config import RunConfig
    from bench.protocols import EvaluationProtocol
    from bench.types import Probe

PLACES = ("data", "subset")  # path options of a task; digests cover their content
# Path options of tasks with digests of their own; those of media are in the feature keys.
FILE_PLACES = ("annotations", "detections", "fit_detections", "media")


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """Everything that decides the number of a run.

    `feature_keys` and the `data_digests` of ids and labels are (fit, score), with None if nothing
    was fitted. `head_order` is how the classes of a released probe were ordered, `mode` whether
    features were stored (and rounded) or live, `files` the digests of the files of the task. Paths
    (the weights after the colon of `encoder`, and the `PLACES` of the task) are left out of the
    configuration, since digests cover their content: a run has the same id on every machine.
    """

    config: Mapping[str, Any]
    feature_keys: Sequence[str | None]
    data_digests: Sequence[str | None]
    protocol_digest: str
    probe: Mapping[str, Any]
    released_sha256: str | None = None
    head_order: str | None = None
    mode: str = "stored"
    files: Mapping[str, str] | None = None

    @property
    def id(self) -> str:
        """The first 16 hex digits of a SHA-256 over all fields."""
        places = (*PLACES, *FILE_PLACES) if self.files else PLACES
        facts = {
            "config": _without_places(self.config, places),
            "features": list(self.feature_keys),
            "data": list(self.data_digests),
            "protocol": self.protocol_digest,
            "probe": self.probe,
            "released": self.released_sha256,
            "mode": self.mode,
            **({"head_order": self.head_order} if self.head_order is not None else {}),
            **({"files": dict(self.files)} if self.files else {}),
        }
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def config_facts(config: RunConfig) -> dict[str, Any]:
    """Return a configuration as JSON values, from which the run can be repeated."""
    facts: dict[str, Any] = plain(asdict(config))
    # Left out where usual, so that ids stay those of earlier versions.
    usual = {"layers": None, "score_clips": "protocol"}
    return {key: value for key, value in facts.items() if key not in usual or value != usual[key]}


def protocol_digest(protocol: EvaluationProtocol) -> str:
    """Return the SHA-256 of everything a protocol fixes."""
    facts = plain(asdict(protocol))
    del facts["departures"]  # text
    if not protocol.layers:  # keeps the digests from before protocols had layers
        del facts["layers"]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def probe_facts(probe: Probe) -> dict[str, Any]:
    """Return the settings and heads of a probe as JSON values."""
    heads = [head.settings for head in probe.heads]
    facts: dict[str, Any] = plain({"settings": probe.settings, "heads": heads})
    return facts


def plain(value: Any) -> Any:
    """Convert tuples, paths and numpy numbers to plain JSON values."""
    return json.loads(
        json.dumps(value, default=lambda x: x.item() if isinstance(x, np.generic) else str(x))
    )


def _without_places(config: Mapping[str, Any], places: Sequence[str]) -> dict[str, Any]:
    """Return a configuration without the paths in it."""
    facts = {**config, "encoder": str(config.get("encoder", "")).partition(":")[0]}
    options = config.get("task_options")
    if isinstance(options, Mapping):
        facts["task_options"] = {key: options[key] for key in options if key not in places}
    return facts
