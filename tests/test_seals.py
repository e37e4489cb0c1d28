"""Texts that carry their digest: every flipped bit is refused or changes nothing."""

import json

from bench.files import sealed, unsealed

CONTENT = {"format": 1, "heads": [{"lr": 3e-4}, {"lr": 0.1}], "name": "größe", "num_heads": 6}


def test_every_flipped_bit_of_a_sealed_text_is_refused_or_changes_nothing() -> None:
    text = sealed(CONTENT)
    assert unsealed(text) == CONTENT
    for bit in range(8 * len(text)):
        damaged = bytearray(text)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            read = unsealed(bytes(damaged))
        except ValueError:
            continue
        assert {name: read.get(name) for name in CONTENT} == CONTENT


def test_an_older_text_without_a_seal_is_read() -> None:
    assert unsealed(json.dumps(CONTENT).encode()) == CONTENT
