"""Recognise weight files by their content, and verify them before anything in them is used.

`torch.save` writes a zip archive with a CRC-32 per member, which `torch.load` does not verify.
Files in the hub's cache are named by their SHA-256; any other may have it in `FILE.sha256`.
"""

from __future__ import annotations

import logging
import mmap
import os
import re
import struct
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

from isal.isal_zlib import crc32

from bench.errors import CheckpointError, first_line
from bench.files import file_sha256

log = logging.getLogger(__name__)

Kind = Literal["safetensors", "zip", "legacy"]
LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")  # torch.save before version 1.6
ZIP_MAGIC = b"PK\x03\x04"
START_BYTES = 32
CHUNK_BYTES = 1 << 19  # which stays in the processor's cache
LOCAL_HEADER = struct.Struct("<26sHH")  # of a member: what is known, lengths of name and extras
THREADS = 4
OTHER_KINDS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file; fetch that: git lfs pull"),
    (rb"\s*<", "is a web page or another text in markup; download the weight file itself"),
    (rb"\s*[{\[]", "is a JSON text; name the weight file that it belongs to"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf", "is compressed; unpack it first"),
    (rb"\x89HDF", "is an HDF5 file, as of Keras; convert it to safetensors"),
    (rb"\x93NUMPY", "is an array of numpy; save the named tensors with torch.save"),
    (rb"GGUF", "is a quantised GGUF file; give the original weights"),
    (rb"\x08[\x01-\x20][\x12\x1a:]", "is an ONNX or TensorFlow graph; give the tensors it is from"),
    (rb"\x80[\x02-\x05]", "is a pickle that torch.save did not write; save a state dict with it"),
)
# Members of archives that hold no plain tensors.
SCRIPT = re.compile(r"[^/]+/(constants\.pkl$|code/)")
ARRAYS = re.compile(r".*\.npy$")
# Of what torch lets a pickle call, these fill memory of any size given in it.
GROWING = re.compile(rb"\bbytearray(?=\n)|\b_rebuild_device_tensor_from_\w+(?=\n)")


def kind_of(path: Path) -> Kind:
    """Return the format of a weight file.

    Raises:
        CheckpointError: a file of another kind, which is named.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, not a weight file; name a file in it.")
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is not a regular file; name a weight file.")
    try:
        with path.open("rb") as file:
            start = file.read(START_BYTES)
        size = path.stat().st_size
        if not start:
            raise CheckpointError(f"{path} is empty (0 bytes); copy or download it again.")
        if start.startswith(ZIP_MAGIC):
            return "zip"
        if start.startswith(LEGACY_MAGIC):
            return "legacy"
        if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
            return "safetensors"
        kinds = [what for pattern, what in OTHER_KINDS if re.match(pattern, start)]
        if not kinds and tarfile.is_tarfile(path):
            kinds = ["is a tar archive; unpack it (tar -xf) and name the weight file in it"]
    except (OSError, tarfile.TarError) as error:
        raise CheckpointError(f"{path} cannot be read: {first_line(error)}.") from error
    if kinds:
        raise CheckpointError(f"{path} {kinds[0]}.")
    if path.suffix == ".safetensors":
        return "safetensors"
    raise CheckpointError(
        f"{path} is not a checkpoint: it begins with {start[:8]!r}; expected a file written by"
        " torch.save or a .safetensors file."
    )


def require_intact(path: Path) -> None:
    """Verify the checksums that a weight file has, once per process while it does not change.

    Raises:
        CheckpointError: a checksum differs, or members that unpack to more than the file's size.
    """
    facts = path.stat()
    _require_intact(path, facts.st_size, facts.st_mtime_ns, facts.st_ino)


@lru_cache(maxsize=256)
def _require_intact(path: Path, *unchanged: int) -> None:
    kind = kind_of(path)
    expected = _sha256_of_name(path)
    if expected and file_sha256(path) != expected:
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 is not {expected[:12]}..., which it was stored with;"
            " delete it and download it again."
        )
    if kind == "zip":
        _require_archive(path, is_verified=bool(expected))
    elif kind == "legacy":
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            _refuse_growing(path, whole)


def _sha256_of_name(path: Path) -> str:
    """Return the SHA-256 that a file is expected to have, '' if unknown."""
    real = path.resolve()
    beside = path.with_name(f"{path.name}.sha256")
    word = real.name if real.parent.name == "blobs" else ""
    if beside.is_file():
        word = next(iter(beside.read_text(errors="replace").split()), "")
    return word.lower() if re.fullmatch(r"[0-9a-fA-F]{64}", word) else ""


def _require_archive(path: Path, *, is_verified: bool) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _require_plain(path, members)
            record = next(m for m in members if m.filename.endswith("/data.pkl"))
            _refuse_growing(path, archive.read(record))
            if is_verified:
                return
            if not any(member.CRC for member in members):
                log.warning("%s has no checksums, so damage to it cannot be noticed", path)
                return
            with (
                path.open("rb") as file,
                ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool,
            ):
                look = partial(_damage, file.fileno())
                bad = [name for name in pool.map(look, members) if name]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            f"{path} is cut short or damaged ({first_line(error)}); copy or download it again."
        ) from error
    if bad:
        raise CheckpointError(
            f"{path} is damaged: {bad[0]} does not have its checksum; copy or download it again."
        )


def _require_plain(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse archives that `torch.save` did not write, before anything is unpacked."""
    names = [member.filename for member in members]
    if any(map(SCRIPT.match, names)):
        raise CheckpointError(
            f"{path} is a TorchScript program, which is not run; save its tensors: torch.save("
            "torch.jit.load(FILE).state_dict(), ...) where you trust it."
        )
    if sum(name.endswith("/data.pkl") for name in names) != 1:
        what = "an .npz of numpy" if any(map(ARRAYS.match, names)) else "a zip archive"
        raise CheckpointError(
            f"{path} is {what} that torch.save did not write (it has {', '.join(names[:3])}); save"
            " the named tensors with torch.save, or unpack it and name the weight file."
        )
    packed = next((m.filename for m in members if m.compress_type != zipfile.ZIP_STORED), None)
    if packed or sum(m.file_size for m in members) > path.stat().st_size:
        raise CheckpointError(
            f"{path} has compressed members ({packed or 'larger than the file'}), which could fill"
            " the memory and which torch.save never writes; save it again with torch.save."
        )
    if len(set(names)) < len(names):
        raise CheckpointError(f"{path} is damaged: members have equal names; download it again.")


def _refuse_growing(path: Path, pickled: bytes | mmap.mmap) -> None:
    if found := GROWING.search(pickled):
        raise CheckpointError(
            f"{path} asks for memory that its size does not show ({found[0].decode()}), which is"
            " refused; save only the tensors: torch.save(model.state_dict(), FILE)."
        )


def _damage(handle: int, member: zipfile.ZipInfo) -> str:
    """Return the name of a damaged member, '' if it is whole.

    zipfile would check it too, at a third of the speed.
    """
    name = member.filename or "a member"
    start = os.pread(handle, LOCAL_HEADER.size, member.header_offset)
    if len(start) < LOCAL_HEADER.size or not start.startswith(ZIP_MAGIC):
        return name
    offset = member.header_offset + LOCAL_HEADER.size + sum(LOCAL_HEADER.unpack(start)[1:])
    crc, left, chunk = 0, member.file_size, memoryview(bytearray(CHUNK_BYTES))
    while left:
        count = os.preadv(handle, [chunk[: min(left, CHUNK_BYTES)]], offset)
        if not count:
            return name
        crc = crc32(chunk[:count], crc)
        offset, left = offset + count, left - count
    return "" if crc == member.CRC else name
