"""Weights by address: over https alone, whole, checked, resumed and pinned."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import huggingface_hub
import pytest

from bench.config import RunConfig, whole_address
from bench.encoders.encoder import open_encoder
from bench.encoders.weights import download as downloading
from bench.encoders.weights import fetch as fetching
from bench.encoders.weights.fetch import fetch
from bench.errors import BenchError, CheckpointError, UsageError, without_secrets
from tests.commands import Bench
from tests.encoders.files import CHECKPOINT, HEADS
from tests.encoders.https_server import CERTIFICATE, Site, serving

BODY = CHECKPOINT.read_bytes()
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """A site with a checkpoint; downloads go to `tmp_path`/home, and retries do not wait."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setenv("no_proxy", "localhost")
    monkeypatch.setattr(downloading, "PAUSE_SECONDS", 0)
    with serving(Site(body=BODY)) as made:
        yield made


def stored(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "home" / "weights").iterdir())


def test_address_is_downloaded_once_with_its_digest_beside_it(site: Site, tmp_path: Path) -> None:
    path = fetch(site.address())
    assert path.read_bytes() == BODY
    assert path.parent == tmp_path / "home" / "weights"
    assert path.name.endswith("-tiny.pth.tar")
    assert path.with_name(path.name + ".sha256").read_text().strip() == DIGEST
    assert fetch(site.address()) == path
    assert len(site.asked) == 1 and len(stored(tmp_path)) == 2


def test_addresses_with_one_file_name_do_not_share_a_file(site: Site) -> None:
    first = fetch(site.address())
    site.body += b"more"
    second = fetch(site.address("/other/tiny.pth.tar"))
    third = fetch(site.address("/other/tiny.pth.tar?file=3"))
    assert first.read_bytes() == BODY and len({first, second, third}) == 3


def test_changed_file_is_refused_at_the_next_use(site: Site) -> None:
    path = fetch(site.address())
    path.write_bytes(b"weightz")
    with pytest.raises(CheckpointError, match=r"has changed since it was downloaded.*delete it"):
        fetch(site.address())


def test_broken_download_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.cut = [1000, 500]
    assert fetch(site.address()).read_bytes() == BODY
    assert [asked.get("Range") for _, asked in site.asked] == [None, "bytes=1000-", "bytes=1500-"]
    assert len(stored(tmp_path)) == 2


def test_next_process_goes_on_and_another_file_begins_anew(site: Site, tmp_path: Path) -> None:
    site.cut = [1000, 0, 0, 0]
    with pytest.raises(CheckpointError, match="after 1,000 of"):
        fetch(site.address())
    assert [name.rpartition(".part")[2] for name in stored(tmp_path)] == ["", ".etag"]
    assert downloading.remove_broken(tmp_path / "home" / "weights") == 0  # of today
    site.etag, site.body = '"two"', BODY + b"\0"
    assert fetch(site.address()).read_bytes() == BODY + b"\0"
    assert site.asked[-1][1]["Range"] == "bytes=1000-" and len(stored(tmp_path)) == 2


def test_broken_download_is_swept(site: Site, bench: Bench, tmp_path: Path) -> None:
    site.cut = [1000, 0, 0, 0]
    with pytest.raises(CheckpointError, match="after 1,000 of"):
        fetch(site.address())
    code, out, _ = bench("store", "sweep", "--home", tmp_path / "home", home=False)
    assert (code, out) == (0, "1 leftovers removed\n") and stored(tmp_path) == []


@pytest.mark.parametrize("changes", [{"etag": ""}, {"etag": 'W/"one"'}, {"knows_ranges": False}])
def test_download_that_cannot_be_continued_begins_anew(
    changes: dict[str, str], site: Site, tmp_path: Path
) -> None:
    vars(site).update(changes, cut=[1000])
    assert fetch(site.address()).read_bytes() == BODY
    assert len(site.asked) == 2 and len(stored(tmp_path)) == 2


def test_part_that_was_whole_when_its_process_died_is_used(site: Site, tmp_path: Path) -> None:
    path = fetch(site.address())
    path.rename(path.with_name(path.name + ".part"))
    path.with_name(path.name + ".part.etag").write_text(site.etag)
    path.with_name(path.name + ".sha256").unlink()
    site.status = [416]
    assert fetch(site.address()).read_bytes() == BODY
    assert len(stored(tmp_path)) == 2


def test_passing_failures_of_the_server_are_tried_again(site: Site) -> None:
    site.status = [503, 429, 500]
    assert fetch(site.address()).read_bytes() == BODY


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"announced": 2 * len(BODY)}, f"after {len(BODY):,} of {2 * len(BODY):,} bytes"),
        ({"status": [404]}, "404"),
        ({"kind": "text/html; charset=utf-8"}, "is a web page"),
        ({"body": b"\n <!doctype html><p>Sign in"}, "is a web page"),
        ({"body": b'{"error": "expired"}'}, "is a JSON text"),
        ({"body": b"version https://git-lfs.github.com/spec/v1\n"}, "is a Git LFS pointer"),
        ({"body": b"weights" * 100}, "is not a checkpoint"),
        ({"body": b""}, "is empty"),
        ({"announced": 60_000_000_000}, "60,000,000,000 bytes.*BENCH_LARGEST_DOWNLOAD_GB"),
        ({"leads_to": "http://localhost/there"}, "only https is followed"),
        ({"leads_to": "file:///etc/passwd"}, "is not allowed"),
        ({"leads_to": "ftp://localhost/there"}, "only https is followed"),
    ],
)
def test_refused_download_leaves_nothing(
    changes: dict[str, object], says: str, site: Site, tmp_path: Path
) -> None:
    vars(site).update(etag="", **changes)
    with pytest.raises(CheckpointError, match=says):
        fetch(site.address())
    assert stored(tmp_path) == []


def test_body_of_unknown_size_is_capped(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.announced = -1
    assert fetch(site.address()).read_bytes() == BODY
    monkeypatch.setenv(downloading.LARGEST, "1e-6")
    with pytest.raises(CheckpointError, match="raise it with BENCH_LARGEST_DOWNLOAD_GB"):
        fetch(site.address("/other"))
    assert len(stored(tmp_path)) == 2


def test_redirect_over_https_is_followed_without_the_password(site: Site) -> None:
    site.leads_to = f"https://127.0.0.1:{site.port}/there/file?signature=abc"
    assert fetch(site.address(user="ann:p%40ss@")).read_bytes() == BODY
    (_, first), (path, second) = site.asked
    assert first["Authorization"] == "Basic YW5uOnBAc3M=" and path.endswith("signature=abc")
    assert "Authorization" not in second


def test_certificate_must_be_trusted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(CheckpointError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(site.address())


def test_pin_is_verified_and_names_the_file(site: Site, tmp_path: Path) -> None:
    pinned = f"{site.address()}?expires=1#sha256={DIGEST[:16]}"
    path = fetch(pinned)
    assert fetch(pinned.replace("expires=1", "expires=2")) == path and len(site.asked) == 1
    with pytest.raises(CheckpointError, match="it is another file"):
        fetch(f"{site.address()}#sha256={'0' * 64}")
    assert len(stored(tmp_path)) == 2
    for pin in ("sha256=12", "sha256=", "md5=0123456789abcdef", "sha256=" + "g" * 64, "x"):
        with pytest.raises(CheckpointError, match="12 to 64 digits"):
            fetch(f"{site.address()}#{pin}")


def test_file_without_its_digest_counts_as_not_downloaded(site: Site) -> None:
    path = fetch(site.address())
    path.with_name(path.name + ".sha256").unlink()
    path.write_bytes(b"half")
    assert fetch(site.address()).read_bytes() == BODY
    assert len(site.asked) == 2


def test_unreachable_site_says_how_to_pass_a_file(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match=r"refused.*--encoder vjepa:FILE"):
        fetch("https://localhost:1/vitl16.pth.tar")


def test_encoder_opens_from_an_address(site: Site) -> None:
    encoder = open_encoder(f"vjepa:{site.address()}", HEADS)
    assert (encoder.spec.name, encoder.spec.source) == ("vjepa:tiny", site.address())


# ------------------------------------------------------------------------------------------ secrets
SECRETS = ("annabel", "pa55word", "s3cretToken")
SECRET_PATH, SECRET_USER = "/jepa/tiny.pth.tar?token=s3cretToken", "annabel:pa55word@"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://host/a/w.pt", "https://host/a/w.pt"),
        ("vjepa:https://u:p@host:1/w.pt?a=b&c#d", "vjepa:https://...@host:1/w.pt?...#..."),
        ("https://u:p?q#r@host/w.pt", "https://...@host/w.pt"),
        ("HTTPS://u@host", "HTTPS://...@host"),
        ("s3://key:secret@bucket/w.pt", "s3://...@bucket/w.pt"),
        ("cannot read https:/u:p@host/w?x: no", "cannot read https:/...@host/w?... no"),
        ("https://host/w.pt#sha256=00ff", "https://host/w.pt#sha256=00ff"),
        ("see 'https://a/b?c' and https://d/e#f.", "see 'https://a/b?...' and https://d/e#..."),
        ("hf://org/name@main/w.pt", "hf://org/name@main/w.pt"),
        ("vjepa:/data/me@home/a#1?.pt", "vjepa:/data/me@home/a#1?.pt"),
        (f"Bearer hf_{'a' * 34}", "Bearer hf_..."),
    ],
)
def test_what_is_shown_of_an_address(text: str, shown: str) -> None:
    assert without_secrets(text) == shown and without_secrets(shown) == shown
    assert str(BenchError(text)) == shown


@pytest.mark.parametrize("option", [False, True])
def test_secrets_of_an_address_are_in_no_file_and_no_output(
    option: bool, site: Site, bench: Bench, video_set: Path, tmp_path: Path
) -> None:
    address = site.address(SECRET_PATH, SECRET_USER)
    named = ("-m", "vjepa", "--set", f"encoder.weights={address}")
    named = named if option else ("-m", f"vjepa:{address}")
    common = (*named, "--set", "encoder.num_heads=4", "--workers", "0")
    run = ("run", *common, "-t", "folder", "-p", "linear", "--data", video_set, "--set", "limit=6",
           "--set", "probe.epochs=1")  # fmt: skip
    said = [bench(*run), bench(*run, "--json")]
    assert {code for code, _, _ in said} <= {0, 3}, said
    said.append(bench("encode", *common, "--videos", video_set / "val", "-o", tmp_path / "x.npz"))
    [record] = (tmp_path / "home" / "records").glob("*.json")
    home = ("--home", tmp_path / "home")
    said += [
        bench(word, *rest, *home, home=False)
        for word, *rest in (("verify",), ("board", "runs", "--all"))
    ]
    said.append(bench("replay", record, *home, "--data", video_set, "--workers", "0", home=False))
    assert [code for code, _, _ in said[-3:]] == [3, 0, 0], said[-3:]
    bundled = ("submit", record, "--out", tmp_path / "bundles", "--include-suspect")
    said.append(bench(*bundled, home=False))
    assert said[-1][0] == 0, said[-1]
    site.status = [404]
    absent = site.address(SECRET_PATH.replace("tiny", "absent"), SECRET_USER)
    said.append(bench("run", "-m", f"vjepa:{absent}", "-t", "folder", "-p", "knn",
                      "--data", video_set))  # fmt: skip
    assert "HTTP Error 404" in said[-1][2]
    said.append(bench("run", f"vjepa:{address}"))
    said.append(bench("run", "-m", address, "--set", f"limit={address}"))
    said.append(bench("run", "--nothing", address, address, "x"))
    said.append(bench("board", "runs", address, home=False))
    assert [code for code, _, _ in said[-5:]] == [2] * 5
    text = "".join(out + err for _, out, err in said)
    assert not [secret for secret in SECRETS if secret in text], text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        found = path.name.encode() + path.read_bytes()
        assert not [secret for secret in SECRETS if secret.encode() in found], path


@pytest.mark.parametrize("secret", ["s'e\"c r<e>t", "a?b#c", "a@b", "\u00e9\n"])
def test_secrets_with_any_character_are_set_aside(secret: str) -> None:
    address = f"https://ann:{secret}@h{abs(hash(secret))}.invalid/w.pt?key={secret}"
    run = RunConfig(encoder=f"vjepa:{address}", task="folder", probe="knn")
    assert re.fullmatch(r"vjepa:https://\.\.\.@h\d+\.invalid/w\.pt\?\.\.\.(#\.\.\.)?", run.encoder)
    assert whole_address(run.encoder.partition(":")[2]) == address


def test_address_of_a_record_needs_its_secrets_again(site: Site) -> None:
    with pytest.raises(UsageError, match=r"recorded without.*--encoder NAME:ADDRESS"):
        fetch("https://...@unknown.invalid/w.pt?...")
    RunConfig(encoder="vjepa:https://h.invalid/w.pt?a", task="folder", probe="knn")
    with pytest.raises(UsageError, match="two addresses that differ only"):
        RunConfig(encoder="vjepa:https://h.invalid/w.pt?b", task="folder", probe="knn")


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
