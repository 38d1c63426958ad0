"""A real nginx and a real Caddy in front of a service: TLS, a name of their own, and a prefix.

Both read the configuration that `examples/proxy` shows, with other ports and another certificate.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

HOST = "gan.example.com"
EXAMPLES = Path(__file__).parents[1] / "examples" / "proxy"
_SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Proxy:
    """One that runs, and how to reach what is behind it."""

    name: str
    port: int
    certificate: Path

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def client(self) -> httpx.Client:
        """A client of HOST, which is found on loopback; certificate and name are checked."""
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}", headers={"Host": f"{HOST}:{self.port}"},
            verify=self.tls, timeout=30,
        )  # fmt: skip


def named(path: str) -> dict[str, object]:
    """What a request through a proxy needs beside its path."""
    return {"url": path, "extensions": {"sni_hostname": HOST}}


@contextmanager
def running(folder: Path, upstream: int) -> Iterator[list[Proxy]]:
    """Start both in front of a port on loopback; skips where they are not installed."""
    tools = {name: shutil.which(name, path=_SBIN) for name in ("nginx", "caddy", "openssl")}
    if missing := [name for name, place in tools.items() if place is None]:
        pytest.skip(f"no {' and no '.join(missing)} here: apt-get install nginx-light caddy")
    certificate, key = _certificate(folder, str(tools["openssl"]))
    processes, proxies = [], []
    try:
        for name, write in (("nginx", _nginx), ("caddy", _caddy)):
            port = _free_port()
            text = (EXAMPLES / {"nginx": "nginx.conf", "caddy": "Caddyfile"}[name]).read_text()
            for old, new in (
                ("/etc/ssl/certs/gan.example.com.pem", str(certificate)),
                ("/etc/ssl/private/gan.example.com.key", str(key)),
                ("127.0.0.1:8000", f"127.0.0.1:{upstream}"),
            ):
                assert old in text
                text = text.replace(old, new)
            command = [str(tools[name]), *write(folder, text, port)]
            environment = {**os.environ, "XDG_DATA_HOME": str(folder), "HOME": str(folder)}
            with (folder / f"{name}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
                )
            _wait(port, processes[-1], folder / f"{name}.log")
            proxies.append(Proxy(name, port, certificate))
        yield proxies
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)


def _nginx(folder: Path, text: str, port: int) -> list[str]:
    user = "user root;\n" if os.getuid() == 0 else ""  # or its workers cannot enter the folder
    places = "".join(
        f"    {kind}_temp_path {folder / kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    server = text.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    whole = (
        f"{user}worker_processes 1;\npid {folder / 'nginx.pid'};\nevents {{}}\n"
        f"http {{\n    access_log off;\n{places}{server}}}\n"
    )
    (folder / "nginx.conf").write_text(whole)
    return ["-p", str(folder), "-c", "nginx.conf", "-e", "stderr", "-g", "daemon off;"]


def _caddy(folder: Path, text: str, port: int) -> list[str]:
    globally = "{\n\tadmin off\n\tauto_https off\n}\n"
    site = text.replace(f"\n{HOST} {{", f"\n{globally}\n{HOST}:{port} {{\n\tbind 127.0.0.1\n")
    (folder / "Caddyfile").write_text(site)
    return ["run", "--config", "Caddyfile", "--adapter", "caddyfile"]


def _certificate(folder: Path, openssl: str) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "2", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
            "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    patience_s = time.monotonic() + 60
    while time.monotonic() < patience_s and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())
