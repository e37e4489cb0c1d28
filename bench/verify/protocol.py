"""Check that a record followed the protocol it names, except for its recorded deviations."""

from __future__ import annotations

from collections.abc import Iterator

from bench import registry
from bench.data.views.clip_frames import CENTRED, DRAWN
from bench.errors import UsageError
from bench.protocols import EvaluationProtocol
from bench.records.record import Record
from bench.records.run_id import plain, protocol_digest
from bench.verify.claims import ARRAYS, other_setting
from bench.verify.findings import Finding, all_of, failed

RELEASED = "released probe, no fit"
SCORED_CLIPS = "scored clips "  # how the deviation of the option `score_clips` begins


def check_protocol(record: Record) -> Finding:
    """Check that the protocol is the one of that name in this version, and was followed."""
    name = record.protocol.name
    try:
        protocol: EvaluationProtocol = registry.build("protocols", name, {})
    except UsageError as error:
        return failed(
            "protocol",
            f"protocol {name!r} cannot be compared: {str(error).rstrip('.')}; load the module of a"
            " custom protocol with --with",
        )
    if record.protocol.digest != protocol_digest(protocol):
        return failed(
            "protocol",
            f"the record has the protocol digest {record.protocol.digest[:12]}, but {name} has"
            f" {protocol_digest(protocol)[:12]}: another protocol under the same name",
        )
    return all_of("protocol", [*departures(record, protocol)], f"{name} as in this version")


def departures(record: Record, protocol: EvaluationProtocol) -> Iterator[str]:
    """Yield every difference from the protocol that is not recorded as a deviation."""
    probe, name = record.probe, protocol.name
    rule = protocol.selection if probe.released_sha256 is None else RELEASED
    if probe.selection.rule != rule:
        yield (
            f"heads were chosen by {probe.selection.rule!r}, but {name} uses {protocol.selection!r}"
        )
    sampler = record.plan.sampler
    from_elsewhere = sampler == "unknown" and record.encoder.spec == ARRAYS
    is_named = any(text.startswith(SCORED_CLIPS) for text in record.protocol.deviations)
    if is_named and sampler in (DRAWN, CENTRED):
        sampler = "vjepa"
    if record.task.unit == "clip" and not from_elsewhere and sampler != protocol.sampler:
        yield f"clips were sampled by {sampler!r}, but {name} uses {protocol.sampler!r}"
    if probe.released_sha256 is not None:
        return
    task = "" if from_elsewhere else record.task.name
    for key, value in protocol.fixed_options(task, record.task.kind, probe.name).items():
        fixed, prefix = plain(value), f"{probe.name} {key} "
        found = other_setting(probe, key, fixed)
        if found is not None and not any(s.startswith(prefix) for s in record.protocol.deviations):
            yield f"{name} fixes {key} = {fixed}, but the probe had {found}, not recorded"
