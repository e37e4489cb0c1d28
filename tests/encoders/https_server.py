"""A web server on this machine that serves one file over https, well or badly."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.encoders.files import FIXTURES

CERTIFICATE = FIXTURES / "localhost.pem"  # of localhost, until 2126, with its key


@dataclass
class Site:
    """What is served, and what was asked for: pairs of path and headers."""

    body: bytes = b""
    etag: str = '"one"'
    kind: str = "application/octet-stream"
    announced: int | None = None  # instead of the true length
    cut: list[int] = field(default_factory=list)  # bytes after which the next answers break off
    status: list[int] = field(default_factory=list)  # of the next answers
    leads_to: str = ""
    knows_ranges: bool = True
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    def address(self, path: str = "/jepa/tiny.pth.tar", user: str = "") -> str:
        return f"https://{user}localhost:{self.port}{path}"


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            site.asked.append((self.path, dict(self.headers)))
            if site.leads_to and not self.path.startswith("/there"):
                self.send_response(302)
                self.send_header("Location", site.leads_to)
                self.end_headers()
                return
            if site.status:
                self.send_error(site.status.pop(0))
                return
            body, start = site.body, 0
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            fresh = self.headers.get("If-Range") == site.etag
            if wanted and site.knows_ranges and fresh:
                start = int(wanted[1])
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            length = len(body) - start if site.announced is None else site.announced
            if length >= 0:
                self.send_header("Content-Length", str(length))
            self.send_header("Content-Type", site.kind)
            if site.etag:
                self.send_header("ETag", site.etag)
            self.end_headers()
            self.wfile.write(body[start : start + site.cut.pop(0)] if site.cut else body[start:])

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    site.port = server.server_address[1]
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
