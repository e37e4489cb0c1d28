"""Texts read as an English-speaking engineer would write them: no translated pattern is left."""

import re
from pathlib import Path

import pytest

from tests.test_layers import PACKAGES, ROOT

COUNTED = (
    "boxes bytes calls classes clips columns draws epochs files films frames heads images labels"
    " layers lines numbers pixels points records rows runs samples scores seconds shots steps"
    " times tokens values videos views words"
)
UNITS = (
    "batch block box call class clip column draw epoch file film frame head image key label layer"
    " line page process record row run sample second seed shot split step task token video view"
)
PATTERNS = {
    "is not a": r"(?<!there )(?<!There )\b(is|are) no (?!longer|more|less|such|better)\w+",
    "is listed": r"\bstands? (in|on|for|at|under|twice|once|there)\b",
    "has, or distinguishes": r"\btells? [^.\n]*\bapart\b|\btells? (no|the|its|how|which|an?) ",
    "is said, is reported": r"\b(is|are) told\b",
    "per": rf"\b({COUNTED.replace(' ', '|')}) an? ({UNITS.replace(' ', '|')})\b",
    "align": r"\bunder each other\b",
    "export": r"\blets? \w+ out\b",
    "divisible by": r"\bthat (\d+|\w+) divides\b",
    "so that one failure does not block the rest": r"\bfor one may\b|\b(make|run) each alone\b",
    "run the same command to resume": r"\bwhat is done is kept\b|\bgoes on where it was\b",
    "as read from": r"\bas one \w+ tells it\b",
    "any": r"\bof anybody\b|\banybody's\b",
}


def texts() -> list[Path]:
    code = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [*code, ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("better", PATTERNS)
def test_no_translated_pattern_is_left(better: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(PATTERNS[better], line)
    ]
    assert not found, f"write {better!r} in:\n" + "\n".join(found)
