"""Find the weight file with a given name, downloading it once.

Weights are named by a local path, `hf://org/name@revision/file` or an `https://` address.
Downloads are stored in `$BENCH_HOME/weights` (else `frozenbench/weights` in the user's cache
folder) as `<first 12 digits of the address's SHA-256>-<file name>`, next to a file with their own
SHA-256, which is verified at every use. `#sha256=DIGEST` at the end of an address pins the file,
and names the stored one instead of the address.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from bench.config import whole_address
from bench.encoders.weights.download import download, require_pin
from bench.errors import CheckpointError, first_line
from bench.files import file_sha256

MAX_NAME = 200  # characters of a file name


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
        raise CheckpointError(
            f"{weights} cannot be downloaded ({first_line(error)}). Without a network, fetch it"
            " elsewhere and pass the file: --encoder vjepa:FILE."
        ) from error


def _downloaded(shown: str) -> Path:
    address, hash_mark, pin = whole_address(shown).partition("#")
    pin = _pinned(pin, shown) if hash_mark else ""
    prefix = pin[:12] or hashlib.sha256(address.encode()).hexdigest()[:12]
    name = re.sub(r"[^\w.+@=-]+", "_", PurePosixPath(urlsplit(address).path).name)[-MAX_NAME:]
    path = weights_folder() / f"{prefix}-{name}"
    recorded = path.with_name(path.name + ".sha256")
    if not (path.exists() and recorded.exists()):
        try:
            download(address, path, pin)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CheckpointError(
                f"{shown} cannot be downloaded ({first_line(error)}). Without a network, fetch it"
                " elsewhere and pass the file: --encoder vjepa:FILE."
            ) from error
        return path
    if (digest := file_sha256(path)) != recorded.read_text().strip():
        raise CheckpointError(
            f"{path} has changed since it was downloaded from {shown} (its SHA-256 differs from"
            f" {recorded.name}); delete it and run again."
        )
    require_pin(path, digest, pin)
    return path


def _pinned(fragment: str, shown: str) -> str:
    """Return the digest of the fragment `sha256=DIGEST`, whole or its first digits."""
    found = re.fullmatch(r"sha256=([0-9a-fA-F]{12,64})", fragment)
    if found is None:
        raise CheckpointError(
            f"{shown}: what follows # must be sha256= and 12 to 64 digits of the file's SHA-256."
        )
    return found[1].lower()
