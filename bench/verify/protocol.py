"""Is the protocol of a record the one of that name, and was it kept to but for what is said?"""

from __future__ import annotations

from bench import registry
from bench.errors import UsageError
from bench.protocols import EvaluationProtocol
from bench.records.record import Result
from bench.records.run_id import plain, protocol_digest
from bench.verify.findings import Finding, all_of, failed

RELEASED = "released probe, no fit"


def check_protocol(result: Result) -> Finding:
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
    return all_of("protocol", _departures(result, protocol), f"{name}, as this version has it")


def _departures(result: Result, protocol: EvaluationProtocol) -> list[str]:
    """Return what differs from the protocol without being on record as a deviation."""
    problems = []
    rule, name = result.probe.selection.rule, protocol.name
    released = result.probe.released_sha256 is not None
    if rule != (RELEASED if released else protocol.selection):
        problems.append(f"heads were chosen by {rule!r}, {name} chooses by {protocol.selection!r}")
    from_elsewhere = result.plan.sampler == "unknown" and result.encoder.spec == "arrays"
    is_clip = result.task.unit == "clip" and not from_elsewhere
    if is_clip and result.plan.sampler != protocol.sampler:
        problems.append(
            f"clips were sampled by {result.plan.sampler!r}, {name} samples by {protocol.sampler!r}"
        )
    if released:
        return problems
    probe, said = result.probe, result.protocol.deviations
    task = "" if from_elsewhere else result.task.name
    for key, value in protocol.fixed_options(task, result.task.kind, probe.name).items():
        if any(sentence.startswith(f"{probe.name} {key} ") for sentence in said):
            continue
        wanted = plain(value)
        if key in probe.settings:
            is_kept, own = probe.settings[key] == wanted, probe.settings[key]
        elif all(key in head for head in probe.heads):
            own = [head[key] for head in probe.heads]
            is_kept = {*map(str, own)} == {
                *map(str, wanted if isinstance(wanted, list) else [wanted])
            }
        else:
            continue
        if not is_kept:
            problems.append(f"{name} fixes {key} = {wanted}, the probe had {own}, unsaid")
    return problems
