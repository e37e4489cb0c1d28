"""AVA's action lists, as protocol buffer text: the evaluated classes.

item { name: "bend/bow (at the waist)" id: 1 }                                    60 classes
label { name: "crawl" label_id: 2 label_type: PERSON_MOVEMENT }                   80 classes
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bench.data.boxes.ava_csv_lines import refuse_unreadable
from bench.errors import DataError

_TOKEN = re.compile(
    r'#[^\n]*|(?P<open>\{)|(?P<close>\})|\bname\s*:\s*"(?P<name>(?:[^"\\]|\\.)*)"'
    r"|\b(?:label_)?id\s*:\s*(?P<id>\S*?)(?=[\s}#]|$)"
    r'|"(?:[^"\\]|\\.)*"'
)


def read_action_list(path: Path) -> Mapping[int, str]:
    """Return the class names by id, in file order.

    `id:` and `label_id:` are equivalent, and whitespace is insignificant (AVA's own reader silently
    skips every line that is not indented by two blanks).

    Raises:
        DataError: missing file, no class, a class without id, an id that is not positive or is
            used twice, a block that is not closed.
    """
    refuse_unreadable(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8.") from error
    classes: dict[int, str] = {}
    name, number, line, depth = "", "", 0, 0
    for token in _TOKEN.finditer(text):
        if token["open"]:
            name, number, depth = "", "", depth + 1
            line = text.count("\n", 0, token.start()) + 1
        elif token["name"] is not None:
            name = re.sub(r"\\(.)", r"\1", token["name"])
        elif token["id"] is not None:
            number = token["id"]
        elif token["close"]:
            depth -= 1
            place = f"{path}, the block on line {line}"
            if not number.isdecimal() or int(number) < 1:
                raise DataError(
                    f"{place}: its id is {number!r}; write id: or label_id: and a number from 1."
                )
            if int(number) in classes:
                raise DataError(
                    f"{place}: id {number} is already used by {classes[int(number)]!r}; give every"
                    " class its own."
                )
            classes[int(number)] = name
    if depth:
        raise DataError(f"{path}: the block on line {line} is not closed; the file is cut short.")
    if not classes:
        raise DataError(
            f'{path} has no classes; a label map has blocks such as item {{ name: "stand" id: 12 }}'
            " (ava_action_list_v2.2_for_activitynet_2019.pbtxt)."
        )
    return classes
