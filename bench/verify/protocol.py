"""Is the protocol of a record the one of that name, and was it kept to but for what is said?"""

from __future__ import annotations

from collections.abc import Iterator

from bench import registry
from bench.errors import UsageError
from bench.protocols import EvaluationProtocol
from bench.records.record import Record
from bench.records.run_id import plain, protocol_digest
from bench.verify.claims import ARRAYS, other_setting
from bench.verify.findings import Finding, all_of, failed

RELEASED = "released probe, no fit"


def check_protocol(result: Record) -> Finding:
    """Say whether the protocol is the one of that name in this version, and was kept to."""
    name = result.protocol.name
    try:
        protocol: EvaluationProtocol = registry.build("protocols", name, {})
    except UsageError as error:
        return failed(
            "protocol",
            f"protocol {name!r} cannot be compared: {str(error).rstrip('.')}; load its module with"
            " --with if it is one of your own",
        )
    if result.protocol.digest != protocol_digest(protocol):
        return failed(
            "protocol",
            f"the record was made under the protocol digest {result.protocol.digest[:12]}, that of"
            f" {name} is {protocol_digest(protocol)[:12]}: another protocol under this name",
        )
    return all_of("protocol", [*departures(result, protocol)], f"{name}, as this version has it")


def departures(result: Record, protocol: EvaluationProtocol) -> Iterator[str]:
    """Yield what differs from the protocol without being on record as a deviation."""
    probe, name = result.probe, protocol.name
    rule = protocol.selection if probe.released_sha256 is None else RELEASED
    if probe.selection.rule != rule:
        yield (
            f"heads were chosen by {probe.selection.rule!r}, {name} chooses by"
            f" {protocol.selection!r}"
        )
    sampler = result.plan.sampler
    from_elsewhere = sampler == "unknown" and result.encoder.spec == ARRAYS
    if result.task.unit == "clip" and not from_elsewhere and sampler != protocol.sampler:
        yield f"clips were sampled by {sampler!r}, {name} samples by {protocol.sampler!r}"
    if probe.released_sha256 is not None:
        return
    task = "" if from_elsewhere else result.task.name
    for key, value in protocol.fixed_options(task, result.task.kind, probe.name).items():
        wanted, said = plain(value), f"{probe.name} {key} "
        own = other_setting(probe, key, wanted)
        if own is not None and not any(s.startswith(said) for s in result.protocol.deviations):
            yield f"{name} fixes {key} = {wanted}, the probe had {own}, unsaid"
