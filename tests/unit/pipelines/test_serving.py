"""Protects: a schedule goes on when Prefect works again, which it does not without its database."""

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pipelines import serving


def test_a_server_without_its_database_is_not_said_to_be_back(monkeypatch, capsys):
    asked = []

    class Prefect(BaseHTTPRequestHandler):
        """Alive all the time; its database comes back after the third question for it."""

        def do_GET(self):
            asked.append(self.path)
            away = self.path == "/api/ready" and asked.count("/api/ready") <= 3
            self.send_response(503 if away else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    monkeypatch.setattr(serving, "AGAIN_S", 0.01)
    with ThreadingHTTPServer(("127.0.0.1", 0), Prefect) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api")
        asyncio.run(serving._wait(OSError("Service Unavailable")))
        server.shutdown()
    assert asked.count("/api/ready") == 4
    assert capsys.readouterr().err.splitlines() == [
        "schedule: the Prefect server is away (Service Unavailable); waiting for it",
        "schedule: the Prefect server is back",
    ]
