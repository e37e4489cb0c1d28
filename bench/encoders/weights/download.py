"""Download one weight file: over https alone, whole, of an announced size, and a checkpoint.

A broken download goes on where it stopped, in this process or the next one, if the server still has
the same file (its strong ETag): it is kept as `FILE.part`, with its ETag in `FILE.part.etag`.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import http.client
import logging
import os
import re
import shutil
import time
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import IO, Any, BinaryIO
from urllib.parse import unquote, urlsplit, urlunsplit

from bench.encoders.weights.intact import kind_of
from bench.errors import CheckpointError, without_secrets
from bench.files import file_sha256, write_whole

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60
ATTEMPTS, PAUSE_SECONDS = 4, 0.2
PASSING = (http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS)
PART, ETAG = ".part", ".part.etag"
KEPT_DAYS = 7  # of broken downloads
LARGEST_GB, LARGEST = 50.0, "BENCH_LARGEST_DOWNLOAD_GB"


def download(address: str, path: Path, pin: str = "") -> None:
    """Write the file of an https address to `path`, and its SHA-256 to `path`.sha256.

    Raises:
        CheckpointError: no https at any step, too large, a page, no checkpoint, or not the file
            whose SHA-256 begins with `pin`.
        OSError, http.client.HTTPException: no whole answer after `ATTEMPTS`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, recorded = path.with_name(path.name + PART), path.with_name(path.name + ".sha256")
    remove_broken(path.parent)
    with _locked(part) as file:
        if not (path.exists() and recorded.exists()):
            try:
                _receive(address, path, file)
                kind_of(part)
                digest = file_sha256(part)
                require_pin(part, digest, pin)
            except CheckpointError as error:
                _drop(path)
                shown = str(error).replace(str(part), without_secrets(address))
                raise CheckpointError(shown) from error
            part.replace(path)
            # Last: a file without its digest counts as not downloaded.
            write_whole(recorded, f"{digest}\n".encode())
        _drop(path)


def remove_broken(folder: Path, days: float = KEPT_DAYS) -> int:
    """Remove and count broken downloads that nobody went on with for some days."""
    removed = 0
    for part in folder.glob(f"*{PART}"):
        # Not one that is being written (BlockingIOError), or another user's.
        with contextlib.suppress(OSError), part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - part.stat().st_mtime >= days * 86400:
                _drop(part.with_name(part.name.removesuffix(PART)))
                removed += 1
    return removed


def require_pin(path: Path, digest: str, pin: str) -> None:
    """Raise `CheckpointError` unless the SHA-256 `digest` of a file begins with `pin`."""
    if not digest.startswith(pin):
        raise CheckpointError(
            f"{path} has the SHA-256 {digest}, but {pin} was asked for: it is another file."
        )


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """Open the part file when no other process is downloading it."""
    while True:
        with part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # The process that had the lock may have moved or removed this file.
            if part.exists() and os.path.samestat(os.fstat(file.fileno()), part.stat()):
                yield file
                return


def _receive(address: str, path: Path, file: BinaryIO) -> None:
    """Fill the part file, going on where an attempt broke off."""
    for attempt in range(ATTEMPTS):
        try:
            _attempt(address, path, file)
            return
        except (OSError, http.client.HTTPException) as error:
            etag = path.with_name(path.name + ETAG)
            code = getattr(error, "code", 500)  # of the server
            if code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                etag.unlink(missing_ok=True)
            elif attempt + 1 == ATTEMPTS or (300 <= code < 500 and code not in PASSING):
                if not etag.exists():  # nothing that another attempt could go on with
                    _drop(path)
                raise
            log.info("%s; trying again", without_secrets(f"{address}: {error}"))
            time.sleep(PAUSE_SECONDS * 4**attempt)
    raise OSError(f"no whole answer in {ATTEMPTS} attempts")


def _attempt(address: str, path: Path, file: BinaryIO) -> None:
    etag_file = path.with_name(path.name + ETAG)
    etag = etag_file.read_text() if etag_file.is_file() else ""
    have = file.seek(0, os.SEEK_END) if etag else _emptied(file)
    resumed = {"Range": f"bytes={have}-", "If-Range": etag} if have else {}
    with _opened(address, resumed) as answer:
        headers = answer.headers
        if headers.get_content_type() == "text/html":
            raise CheckpointError(f"{path.name}{PART} is a web page; check the address.")
        goes_on = re.fullmatch(rf"bytes {have}-\d+/(\d+)", headers.get("Content-Range", ""))
        if answer.status != http.client.PARTIAL_CONTENT or not goes_on:
            have = _emptied(file)
        total = int(goes_on[1]) if have and goes_on else _length(headers)
        _require_room(total, have, path, address)
        strong = headers.get("ETag", "")
        if strong.startswith('"'):
            write_whole(etag_file, strong.encode())
        else:
            etag_file.unlink(missing_ok=True)
        limit = _largest_bytes() if total is None else total
        while chunk := answer.read(CHUNK_BYTES):
            have += file.write(chunk)
            if have > limit:
                raise _too_large(have, address)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and have != total:
        raise OSError(f"the connection ended after {have:,} of {total:,} bytes")


def _opened(address: str, headers: Mapping[str, str]) -> Any:
    """Open an address with the handlers for https alone: http, ftp and files have none."""
    parts = urlsplit(address)
    user, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(urlunsplit(parts._replace(netloc=host, fragment="")))
    for name, value in headers.items():
        request.add_header(name, value)
    if user:  # not sent on to where a redirect leads
        encoded = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {encoded}")
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _HttpsAlone(),
    ):
        opener.add_handler(handler)
    return opener.open(request, timeout=TIMEOUT_SECONDS)


class _HttpsAlone(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https, and refuses all others."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request for the next address."""
        if not newurl.lower().startswith("https://"):
            raise CheckpointError(
                f"{req.full_url} leads to {newurl}, but only https is followed; ask for the"
                " address of the file itself."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _require_room(total: int | None, have: int, path: Path, address: str) -> None:
    """Announce the size, and refuse it if it is above the limit or does not fit on the disk."""
    if total is None:
        log.warning("downloading %s, whose size is not announced", without_secrets(address))
        return
    log.warning("downloading %s: %s bytes", without_secrets(address), f"{total:,}")
    if total > _largest_bytes():
        raise _too_large(total, address)
    free = shutil.disk_usage(path.parent).free
    if total - have > free:
        raise CheckpointError(
            f"{address} has {total / 1e9:.1f} GB, but {path.parent} has {free / 1e9:.1f} GB free;"
            " free some space, or set BENCH_HOME to a larger disk."
        )


def _too_large(size: int, address: str) -> CheckpointError:
    return CheckpointError(
        f"{address} has at least {size:,} bytes, more than it announced or than the limit of"
        f" {_largest_bytes() / 1e9:g} GB; if that is right, raise it with {LARGEST}=GB."
    )


def _largest_bytes() -> int:
    text = os.environ.get(LARGEST, "")
    try:
        return int(float(text or LARGEST_GB) * 1e9)
    except (ValueError, OverflowError) as error:
        raise CheckpointError(f"{LARGEST}={text!r} is not a number of GB.") from error


def _length(headers: Message) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _emptied(file: BinaryIO) -> int:
    return file.truncate(0)


def _drop(path: Path) -> None:
    for ending in (PART, ETAG):
        path.with_name(path.name + ending).unlink(missing_ok=True)
