"""Find the weight file with a given name, downloading it once.

Weights are named by a local path, `hf://org/name@revision/file` or an `https://` address.
Downloads are stored in `$BENCH_HOME/weights` (else `frozenbench/weights` in the user's cache
folder) as `<first 12 digits of the address's SHA-256>-<file name>`, next to a file with their own
SHA-256, which is verified at every use.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import tempfile
from pathlib import Path
from urllib.request import urlopen

from bench.errors import CheckpointError
from bench.files import file_sha256

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60


def fetch(weights: str) -> Path:
    """Return the local file or folder that `weights` names, downloading it if necessary.

    Raises:
        CheckpointError: not found, a failed download, or a cached file that has changed.
    """
    if weights.startswith("hf://"):
        return _from_hub(weights)
    if weights.startswith("https://"):
        return _downloaded(weights)
    if "://" in weights:
        raise CheckpointError(
            f"weights {weights!r}: this kind of address is not supported; give a file, a folder,"
            " hf://org/name@revision/file or https://..."
        )
    path = Path(weights).expanduser()
    if not path.exists():
        raise CheckpointError(
            f"weights {weights!r}: {path.absolute()} does not exist; check the path."
        )
    return path


def weights_folder() -> Path:
    """Return `$BENCH_HOME/weights`, or `frozenbench/weights` in the user's cache folder."""
    home = os.environ.get("BENCH_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(home) if home else Path(cache) / "frozenbench") / "weights"


def _from_hub(weights: str) -> Path:
    match = re.fullmatch(r"hf://([^/@]+/[^/@]+)@([^/]+)/(.+)", weights)
    if not match:
        raise CheckpointError(
            f"weights {weights!r}: write hf://org/name@revision/file (a revision cannot change)."
        )
    repository, revision, name = match.groups()
    # Slow to import, and needed only for this kind of address.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except (HfHubHTTPError, EntryNotFoundError, HFValidationError, OSError) as error:
        raise CheckpointError(_offline(weights, error)) from error


def _downloaded(address: str) -> Path:
    prefix = hashlib.sha256(address.encode()).hexdigest()[:12]
    path = weights_folder() / f"{prefix}-{address.rstrip('/').rpartition('/')[2].split('?')[0]}"
    recorded = path.with_name(path.name + ".sha256")
    if not (path.exists() and recorded.exists()):
        try:
            _download(address, path, recorded)
        except (OSError, http.client.HTTPException) as error:
            raise CheckpointError(_offline(address, error)) from error
        return path
    if file_sha256(path) != recorded.read_text().strip():
        raise CheckpointError(
            f"{path} has changed since it was downloaded from {address} (its SHA-256 differs from"
            f" {recorded.name}); delete it and run again."
        )
    return path


def _download(address: str, path: Path, recorded: Path) -> None:
    log.info("downloading %s to %s", address, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, received = hashlib.sha256(), 0
    # The folder's cleanup removes interrupted and failed downloads.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="partial-") as folder:
        partial = Path(folder) / path.name
        with urlopen(address, timeout=TIMEOUT_SECONDS) as response, partial.open("wb") as file:
            announced = response.headers.get("Content-Length")
            while chunk := response.read(CHUNK_BYTES):
                digest.update(chunk)
                received += file.write(chunk)
        if announced is not None and received != int(announced):
            raise OSError(f"the connection ended after {received:,} of {int(announced):,} bytes")
        note = Path(folder) / recorded.name
        note.write_text(digest.hexdigest() + "\n")
        partial.replace(path)
        note.replace(recorded)  # last: a file without its digest counts as not downloaded


def _offline(address: str, error: BaseException) -> str:
    return (
        f"{address} cannot be downloaded ({first_line(error)}). Without a network, fetch it"
        " elsewhere and pass the file: --encoder vjepa:FILE."
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type name if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
