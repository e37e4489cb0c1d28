"""What holds for every registered probe."""

import hashlib
import inspect
import json
from pathlib import Path

import pytest

from bench import registry
from bench.errors import UsageError
from bench.records.run_id import probe_facts
from bench.types import Probe

OURS = ["attentive", "attentive4", "knn", "linear", "logistic"]
# Settings that are left out where they are the default, so that the ids of runs stay.
NOT_DEFAULT = {
    "linear": {"warmup": "2", "start_lr": "1e-6", "final_lr": "1e-5"},
    "attentive4": {"released_head": "1"},
    "logistic": {"standardise": "false"},
}
READ_TOKENS = ("attentive", "attentive4")
# SHA-256 of the settings and heads that went into the ids of runs on record.
DIGESTS = {
    "attentive": "9ecfe78f2f4cd167",
    "attentive4": "8ce2c98ecfdb5bb2",
    "knn": "c9d3b6390a3b38ae",
    "linear": "aa08a25c2f2a06a0",
    "logistic": "7374861db56c3b7b",
}


def build(name: str, **options: str) -> Probe:
    needed = {"num_heads": "2"} if name in READ_TOKENS else {}
    probe: Probe = registry.build("probes", name, {**needed, **options})
    return probe


def test_our_probes_are_registered() -> None:
    assert set(OURS) <= set(registry.names("probes"))


@pytest.mark.parametrize("name", OURS)
def test_settings_and_head_settings_are_together_the_options(name: str) -> None:
    probe = build(name, **NOT_DEFAULT.get(name, {}))
    options = set(inspect.signature(registry.find("probes", name).function).parameters)
    assert {*probe.settings, *probe.heads[0].settings} == options
    assert probe.name == name


@pytest.mark.parametrize("name", OURS)
def test_probe_is_built_again_from_its_settings(name: str) -> None:
    probe = build(name, **NOT_DEFAULT.get(name, {}))
    again: Probe = registry.build("probes", name, dict(probe.settings))
    assert again.settings == probe.settings


@pytest.mark.parametrize("name", OURS)
def test_ids_of_runs_on_record_stay_as_they_are(name: str) -> None:
    text = json.dumps(probe_facts(build(name)), sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == DIGESTS[name]


def test_options_are_read_from_text() -> None:
    probe = build("attentive", lr="1e-3,3e-4", clip_norm="none", final_weight_decay="none")
    assert [head.settings["lr"] for head in probe.heads] == [1e-3, 3e-4]
    assert probe.settings["clip_norm"] is None
    assert probe.settings["final_weight_decay"] is None
    assert [h.settings for h in build("knn", k="5,20").heads] == [{"k": 5}, {"k": 20}]
    assert [h.settings for h in build("logistic", C="0.5").heads] == [{"C": 0.5}]


@pytest.mark.parametrize("name", [n for n in OURS if n not in READ_TOKENS])
def test_probes_without_a_published_layout_refuse_files(name: str) -> None:
    with pytest.raises(UsageError, match=r"some\.pt"):
        build(name).read_released(Path("some.pt"))


@pytest.mark.parametrize("name", OURS)
def test_probe_says_what_it_reads(name: str) -> None:
    assert build(name).reads == ("tokens" if name in READ_TOKENS else "vector")
