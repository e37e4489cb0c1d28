"""The shipped label maps, one file each: one class name per line, in index order.

`SOURCES.md` documents where names and orders come from. ImageNet's classes are WNIDs;
`in1k_words.txt` has their words on the same lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import resources

from bench.data.discover.label_map import LabelMap
from bench.errors import known

SHIPPED = (
    "coin",
    "diving48",
    "hmdb51",
    "in1k",
    "jester",
    "k400",
    "k600",
    "k700",
    "places205",
    "places365",
    "ssv2",
    "ucf101",
)


@cache
def shipped(name: str) -> LabelMap:
    """Return the label map of the data set `name`, one of `SHIPPED`.

    Aliases: Places' classes without the folder of their first letter (`airfield` for `a/airfield`),
    ImageNet's classes by their words, if unambiguous.

    Raises:
        UsageError: no such label map.
    """
    names = _read(known("shipped label map", name, SHIPPED))
    aliases: dict[str, int] = {}
    if name.startswith("places"):
        aliases = {scene.partition("/")[2]: index for index, scene in enumerate(names)}
    elif name == "in1k":
        aliases = _unambiguous(_read("in1k_words"))
    return LabelMap(names=names, source=f"tasks/labels/{name}.txt", aliases=aliases)


def _read(name: str) -> Sequence[str]:
    text = resources.files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8")
    return tuple(text.removesuffix("\n").split("\n"))


def _unambiguous(words: Sequence[str]) -> dict[str, int]:
    """Return words -> index, without words of several classes (`crane`, bird and machine)."""
    counts = Counter(words)
    return {text: index for index, text in enumerate(words) if counts[text] == 1}
