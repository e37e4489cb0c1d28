"""Large JSON files, read element by element: the objects in the arrays of one outer object.

The annotations of iNaturalist 2021 take 1 GB on disk and six times as much as Python objects. ijson
is half as fast here, silently skips values that are not arrays, and its errors have no position.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

from bench.errors import DataError

CHUNK = 1 << 20
LARGEST = 1 << 26  # characters of one element; a longer one means a damaged file

_OF_NUMBERS = frozenset("0123456789.eE+-")
_DECODER = json.JSONDecoder()


def elements(path: Path, keys: Collection[str], *, chunk: int = CHUNK) -> Iterator[tuple[str, Any]]:
    """Yield (key, element) of the arrays under `keys`, in file order; keys may be missing.

    The file has one object. One element and about `chunk` characters are in memory at a time.

    Raises:
        DataError: no such file, not an object, a value of `keys` that is not an array, text that is
            not JSON or is cut off.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = _Text(path, file, chunk)
            for _ in text.items("{", "}"):
                key = text.value()
                if not isinstance(key, str):
                    raise text.wrong(f"expected a key, found {key!r}")
                text.expect(":")
                if text.peek() == "[":
                    for _ in text.items("[", "]"):
                        element = text.value()
                        if key in keys:
                            yield key, element
                elif key in keys:
                    raise text.wrong(f"{key!r} is not an array")
                else:
                    text.value()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}); download it again.") from error
    except OSError as error:
        raise DataError(f"cannot read the annotation file {path}: {error.strerror}.") from error


class _Text:
    """A window on the text of a file and the parsing position in it."""

    def __init__(self, path: Path, file: TextIO, chunk: int) -> None:
        self.path, self.file, self.chunk = path, file, chunk
        self.window, self.place, self.before = "", 0, 0

    def items(self, start: str, end: str) -> Iterator[None]:
        """Yield before every item of an object or array, which the caller has to read."""
        self.expect(start)
        if self.peek() == end:
            self.place += 1
            return
        while True:
            yield
            if self.expect(f",{end}") == end:
                return

    def value(self) -> Any:
        """Return the next value."""
        self.peek()
        while True:
            reason = ""
            try:
                value, end = _DECODER.raw_decode(self.window, self.place)
            except json.JSONDecodeError as error:
                value, end, reason = None, self.place, error.msg
            except (ValueError, RecursionError) as error:  # too many digits, or too deep
                raise self.wrong(str(error).partition(":")[0]) from error
            # A number at the end of the window may continue after it.
            is_whole = end < len(self.window) and self.window[end] not in _OF_NUMBERS
            if reason or not is_whole:
                too_long = len(self.window) - self.place > LARGEST
                if not too_long and self.more():
                    continue
                if reason:
                    raise self.wrong(reason)
            self.place = end
            return value

    def peek(self) -> str:
        """Return the next character that is not whitespace."""
        while True:
            while self.place < len(self.window):
                if not self.window[self.place].isspace():
                    return self.window[self.place]
                self.place += 1
            if not self.more():
                raise self.wrong("the file ends too early")

    def expect(self, signs: str) -> str:
        """Consume one of these characters."""
        found = self.peek()
        if found not in signs:
            raise self.wrong(f"expected {' or '.join(signs)}, found {found!r}")
        self.place += 1
        return found

    def more(self) -> bool:
        """Read at least as much as is unparsed, so that long values take linear time."""
        waiting = len(self.window) - self.place
        added = self.file.read(max(self.chunk, waiting))
        self.before += self.place
        self.window, self.place = self.window[self.place :] + added, 0
        return bool(added)

    def wrong(self, reason: str) -> DataError:
        """Return an error with the position in the file."""
        return DataError(
            f"{self.path}, near character {self.before + self.place}: {reason}; the file is"
            " damaged or cut off, download it again."
        )
