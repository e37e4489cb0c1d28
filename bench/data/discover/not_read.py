"""What of a data set's folders is a medium, and what is not read: counted, the first few named.

A file is a medium by its extension or, if it has none, by its first bytes. Annotations, sidecars
and clutter of desktops are not media, and are not counted.
"""

from __future__ import annotations

import os
import re
import stat
from bisect import insort
from collections.abc import Callable
from pathlib import Path

from bench.data.discover.annotations import EXTENSIONS, extension
from bench.types import Kind

UNKNOWN = "unknown extension"
NO_MEDIUM = "no extension, and the first bytes are of no known format"
SPECIAL = "no extension, and not a regular file"
CIRCLE = "link to a folder that contains it"
EMPTY = "folder without media"
OTHER_KIND: dict[Kind, str] = {
    "video": "picture among videos",
    "image": "video among pictures",
}
SHOWN = 5
PEEK_BYTES = 4096

# What lies next to media without being any: annotations, subtitles, features, sound, checksums.
SIDECARS = frozenset(
    (
        *("arrow", "cls", "csv", "feather", "h5", "hdf5", "htm", "html", "json", "jsonl", "list"),
        *("log", "lst", "mat", "md", "ndjson", "npy", "npz", "parquet", "pbtxt", "pdf", "pickle"),
        *("pkl", "pt", "pth", "py", "rst", "safetensors", "sh", "toml", "tsv", "txt", "xml"),
        *("yaml", "yml"),
        *("ass", "lrc", "nfo", "sbv", "smi", "srt", "ssa", "sub", "vtt"),
        *("aac", "flac", "m4a", "mp3", "opus", "wav"),
        *("crc", "db", "ini", "lnk", "md5", "sfv", "sha1", "sha256", "sha512", "torrent", "url"),
    )
)
SIDECAR_NAMES = frozenset(
    (
        *("authors", "changelog", "checksum", "checksums", "citation", "copying", "licence"),
        *("license", "makefile", "manifest", "md5sum", "md5sums", "notice", "readme", "sha1sum"),
        *("sha1sums", "sha256sum", "sha256sums", "version"),
    )
)

# Formats by their first bytes: ISO media and QuickTime, Matroska, AVI, FLV, ASF, Theora in Ogg,
# MXF, RealMedia, IVF, YUV4MPEG, MPEG program and elementary streams; pictures that Pillow reads.
_FIRST_BYTES: tuple[tuple[Kind, re.Pattern[bytes]], ...] = (
    ("image", re.compile(rb"\0...ftypavi[fs]", re.DOTALL)),
    (
        "video",
        re.compile(
            rb"\0...(?:ftyp(?!M4A |M4B |hei|mif1|msf1)|moov|mdat|wide|free|skip)"
            rb"|\x1aE\xdf\xa3|RIFF....AVI |FLV\x01|\x30\x26\xb2\x75\x8e\x66\xcf\x11|OggS.*?theora"
            rb"|\x06\x0e\x2b\x34\x02\x05\x01\x01|\.RMF|DKIF|YUV4MPEG2 |\0\0\x01[\xba\xb3]",
            re.DOTALL,
        ),
    ),
    (
        "image",
        re.compile(
            rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|BM....\0\0\0\0|II\*\0|MM\0\*"
            rb"|P[1-6]\s+[#0-9]|\0\0\0\x0cjP  |\xff\x4f\xff\x51",
            re.DOTALL,
        ),
    ),
)


class NotRead:
    """Names that are not read, by reason: all are counted, the first few of a folder are kept."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[list[int], list[str]]] = {}

    def add(self, reason: str, name: str) -> None:
        """Count a name below the root; an empty reason counts nothing."""
        if not reason:
            return
        name = name.encode(errors="backslashreplace").decode()  # of archives
        count, names = self._found.setdefault((reason, name.rpartition("/")[0]), ([0], []))
        count[0] += 1
        insort(names, name)
        del names[SHOWN:]

    def notes(self, within: Callable[[str], bool] = lambda folder: True) -> tuple[str, ...]:
        """Return a sentence for every reason, over the folders that `within` accepts."""
        sentences = []
        for reason in sorted({reason for reason, _ in self._found}):
            found = [
                what
                for (why, folder), what in self._found.items()
                if why == reason and within(folder)
            ]
            total = sum(count[0] for count, _ in found)
            shown = sorted(name for _, names in found for name in names)[:SHOWN]
            rest = f", and {total - len(shown):,} more" if total > len(shown) else ""
            if total:
                sentences.append(f"{total:,} not read ({reason}): {', '.join(shown)}{rest}")
        return tuple(sentences)


def judged(name: str, first_bytes: Callable[[], bytes]) -> tuple[Kind | None, str]:
    """Return the kind of a file, or None and why it is not read; empty if it is a sidecar.

    `first_bytes` is called for a name without extension, and may raise `OSError`.
    """
    tail = extension(name)
    if tail:
        return EXTENSIONS.get(tail), "" if tail in EXTENSIONS or tail in SIDECARS else UNKNOWN
    if name.rpartition("/")[2].lower() in SIDECAR_NAMES:
        return None, ""
    try:
        kind = kind_of_content(first_bytes())
    except OSError as error:
        return None, f"cannot be opened: {error.strerror}" if error.strerror else SPECIAL
    return kind, "" if kind else NO_MEDIUM


def first_bytes_of(path: str | Path) -> bytes:
    """Return the first bytes of a regular file.

    Raises:
        OSError: it cannot be read; without a number, if it is not a regular file.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 (opening a pipe would block)
        raise OSError
    with open(path, "rb") as file:  # noqa: PTH123 (maybe a million files: no Path object for each)
        return file.read(PEEK_BYTES)


def kind_of_content(first: bytes) -> Kind | None:
    """Return the kind of medium that begins with these bytes; None if it is none we know."""
    for kind, pattern in _FIRST_BYTES:
        if pattern.match(first):
            return kind
    is_transport = any(
        first[start : start + 4 * step + 1 : step] == b"G" * 5
        for start, step in ((0, 188), (4, 192), (0, 204))
    )
    return "video" if is_transport else None
