"""What the protocols fix, and that those with published numbers never change."""

from __future__ import annotations

import pytest

from bench import registry
from bench.protocols import EvaluationProtocol
from bench.records.run_id import protocol_digest

# SHA-256 of everything a protocol fixes, as records hold it.
DIGESTS = {
    "honest@1": "72f034210a717865382155875e8dc9a44bca813e2844d3eab2b24c2480fa6234",
    "vjepa@1": "53639e2fb0e72bc4c01292db72e42d6018ff95bc3e7664e4e7b0fa7ada4ed7fd",
    "vjepa_paper@1": "c7809a2fcd35015d0b88e2753143fec6db88506be3db6bf436257b65d626a39d",
    "vjepa2@1": "8f3493964fc6c2a9304fe0db32ef5563a0bf64c4d697666009c37eebcf740695",
}


def protocol(name: str) -> EvaluationProtocol:
    found: EvaluationProtocol = registry.build("protocols", name, {})
    return found


@pytest.mark.parametrize("name", DIGESTS)
def test_protocol_is_what_it_was(name: str) -> None:
    assert protocol_digest(protocol(name)) == DIGESTS[name]
    assert protocol(name).name == name


def test_every_protocol_is_pinned() -> None:
    assert set(registry.names("protocols")) == set(DIGESTS)


def test_settings_of_a_task_stand_over_those_of_its_kind() -> None:
    vjepa2 = protocol("vjepa2@1")
    k400, coin, diving48, in1k = (
        vjepa2.fixed_options(task, kind, "attentive4")
        for task, kind in (
            ("k400", "video"),
            ("coin", "video"),
            ("diving48", "video"),
            ("in1k", "image"),
        )
    )
    assert (k400["batch_size"], k400["epochs"], len(k400["lr"]) * len(k400["weight_decay"])) == (
        256,
        20,
        20,
    )
    assert coin == {**k400, "batch_size": 128}
    assert (diving48["batch_size"], diving48["epochs"], diving48["weight_decay"]) == (
        128,
        100,
        (0.8,),
    )
    assert (in1k["batch_size"], in1k["warmup"], in1k["start_lr"]) == (1024, 5.0, 2e-4)
    assert k400["drop_last"] and not in1k["drop_last"]
    assert vjepa2.fixed_options("k400", "video", "linear") == {}
    assert {**protocol("vjepa@1").fixed_options("ssv2", "video", "attentive")}["epochs"] == 20


def test_layers_follow_from_the_task_and_the_depth_of_the_encoder() -> None:
    vjepa2 = protocol("vjepa2@1")
    assert vjepa2.layers_of("diving48", 24) == (17, 19, 21, 23)
    assert vjepa2.layers_of("jester", 40) == (24, 29, 34, 39)
    assert vjepa2.layers_of("diving48", 12) is None
    assert vjepa2.layers_of("k400", 24) is None
    assert protocol("honest@1").layers_of("diving48", 24) is None
