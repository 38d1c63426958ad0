"""A proxy on loopback before a server: it asks for a user and password, or answers for itself."""

from __future__ import annotations

import base64
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Proxy(ThreadingHTTPServer):
    """Passes requests on to `target`; `answer` (a status, a content type, a body) says it all."""

    daemon_threads = True

    def __init__(self, target: str = "", credentials: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.expected = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        self.asks = bool(credentials)
        self.answer: tuple[int, str, bytes] | None = None
        self.page: bytes | None = None  # for who may ask, in the target's place
        self.address = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.answer is not None:
            self._send(*self.server.answer)
        elif self.server.asks and self.headers.get("Authorization") != self.server.expected:
            self._send(401, "text/plain", b"who are you?")
        elif self.server.page is not None:
            self._send(200, "application/octet-stream", self.server.page)
        else:
            self._pass_on(body)

    do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815

    def _pass_on(self, body: bytes) -> None:
        kept = {k: v for k, v in self.headers.items() if k not in ("Host", "Authorization")}
        request = urllib.request.Request(
            self.server.target + self.path, body or None, kept, method=self.command
        )
        try:
            with urllib.request.urlopen(request) as answer:
                self._send(answer.status, answer.headers["Content-Type"], answer.read())
        except urllib.error.HTTPError as error:
            self._send(error.code, error.headers["Content-Type"], error.read())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the tests' output."""


@contextmanager
def proxy(target: str = "", credentials: str = "") -> Iterator[Proxy]:
    """A proxy that runs until the block's end."""
    server = Proxy(target, credentials)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
