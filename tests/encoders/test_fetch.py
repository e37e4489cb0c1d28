import hashlib
import io
import urllib.error
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any, NoReturn

import huggingface_hub
import pytest

from bench.encoders.encoder import open_encoder
from bench.encoders.weights import fetch as fetching
from bench.encoders.weights.fetch import fetch
from bench.errors import CheckpointError
from tests.encoders.files import CHECKPOINT, HEADS

ADDRESS = "https://host.invalid/jepa/tiny.pth.tar"


class Response(io.BytesIO):
    def __init__(self, data: bytes, announced: int | None) -> None:
        super().__init__(data)
        self.headers = Message()
        if announced is not None:
            self.headers["Content-Length"] = str(announced)


class Web:
    """Serves one body and counts how often it was asked for."""

    def __init__(
        self, body: bytes, announced: int | None = None, error: Exception | None = None
    ) -> None:
        self.body, self.announced, self.error, self.calls = body, announced, error, []

    def __call__(self, address: str, timeout: int) -> Response:
        self.calls.append(address)
        if self.error:
            raise self.error
        return Response(self.body, self.announced)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Web]:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))

    def serve(*args: bytes | int, **options: Any) -> Web:
        server = Web(*args, **options)
        monkeypatch.setattr(fetching, "urlopen", server)
        return server

    return serve


def test_address_is_downloaded_once_with_its_digest_beside_it(
    web: Callable[..., Web], tmp_path: Path
) -> None:
    server = web(b"weights" * 1000, 7000)
    path = fetch(ADDRESS)
    assert path.read_bytes() == server.body
    assert path.parent == tmp_path / "home" / "weights"
    assert path.name.endswith("-tiny.pth.tar")
    recorded = path.with_name(path.name + ".sha256").read_text().strip()
    assert recorded == hashlib.sha256(server.body).hexdigest()
    assert fetch(ADDRESS) == path
    assert server.calls == [ADDRESS]
    assert len(list(path.parent.iterdir())) == 2


def test_addresses_with_one_file_name_do_not_share_a_file(web: Callable[..., Web]) -> None:
    web(b"a")
    first = fetch(ADDRESS)
    web(b"b")
    second = fetch(ADDRESS.replace("jepa", "other"))
    assert (first.read_bytes(), second.read_bytes()) == (b"a", b"b")


def test_changed_file_is_refused_at_the_next_use(web: Callable[..., Web]) -> None:
    web(b"weights")
    path = fetch(ADDRESS)
    path.write_bytes(b"weightz")
    with pytest.raises(CheckpointError, match=r"has changed since it was downloaded.*delete it"):
        fetch(ADDRESS)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"error": urllib.error.URLError("no route to host")}, "no route to host"),
        ({"error": TimeoutError("timed out")}, "timed out"),
        ({"announced": 100}, "after 7 of 100 bytes"),
    ],
)
def test_failed_download_leaves_nothing_and_names_the_local_way(
    web: Callable[..., Web], options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    web(b"weights", **options)
    with pytest.raises(CheckpointError, match=says) as refused:
        fetch(ADDRESS)
    assert "--encoder vjepa:FILE" in str(refused.value)
    assert list((tmp_path / "home" / "weights").iterdir()) == []


def test_file_without_its_digest_counts_as_not_downloaded(web: Callable[..., Web]) -> None:
    server = web(b"weights")
    path = fetch(ADDRESS)
    path.with_name(path.name + ".sha256").unlink()
    path.write_bytes(b"half")
    assert fetch(ADDRESS).read_bytes() == b"weights"
    assert len(server.calls) == 2


def test_named_encoder_without_network_says_how_to_pass_a_file(web: Callable[..., Web]) -> None:
    web(b"", error=urllib.error.URLError("offline"))
    with pytest.raises(
        CheckpointError, match=r"vitl16\.pth\.tar cannot be downloaded .*vjepa:FILE"
    ):
        open_encoder("vjepa_vitl16", {})


def test_encoder_opens_from_an_address(web: Callable[..., Web]) -> None:
    web(CHECKPOINT.read_bytes())
    encoder = open_encoder(f"vjepa:{ADDRESS}", HEADS)
    assert (encoder.spec.name, encoder.spec.source) == ("vjepa:tiny", ADDRESS)


def test_hub_file_is_fetched_at_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hf_hub_download(repository: str, name: str, *, revision: str) -> str:
        asked.append((repository, name, revision))
        return str(CHECKPOINT)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    encoder = open_encoder("vjepa:hf://org/name@abc123/sub/tiny.pt", HEADS)
    assert asked == [("org/name", "sub/tiny.pt", "abc123")]
    assert encoder.spec.name == "vjepa:tiny"


def test_hub_failure_says_how_to_pass_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def hf_hub_download(repository: str, name: str, *, revision: str) -> NoReturn:
        raise huggingface_hub.errors.LocalEntryNotFoundError("outgoing traffic is disabled")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    with pytest.raises(CheckpointError, match=r"traffic is disabled.*vjepa:FILE"):
        fetch("hf://org/name@main/tiny.pt")


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ("hf://org/name/tiny.pt", "a revision cannot change"),
        ("s3://bucket/tiny.pt", "not supported"),
        ("http://host/tiny.pt", "not supported"),
        ("nothing/here.pt", "does not exist"),
    ],
)
def test_name_that_leads_nowhere_is_refused(weights: str, says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        fetch(weights)


def test_home_folder_is_used_without_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("BENCH_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetching.weights_folder() == tmp_path / ".cache" / "frozenbench" / "weights"
