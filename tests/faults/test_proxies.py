"""The service behind a real nginx and a real Caddy, as `examples/proxy` configures them."""

from __future__ import annotations

import io
import json
import re
import socket
import time
from urllib.parse import urljoin

import numpy as np
import pytest
from PIL import Image

from monge.serving.sampler import Sampler
from tests.proxies import HOST, named, running

TOKEN = "a token of nginx and caddy"


@pytest.fixture(scope="module")
def behind(serve, model, tmp_path_factory):
    """A service on loopback with a token, and both proxies in front of it."""
    folder = tmp_path_factory.mktemp("proxies")
    (folder / "token").write_text(TOKEN)
    service = serve(
        model, "--allowed-hosts", HOST, "--trusted-proxies", "127.0.0.1", "--token-file",
        folder / "token", "--max-images", 100_000, "--queue-images", 200_000, "--rate", 500,
    )  # fmt: skip
    with running(folder, service.port) as proxies:
        yield service, proxies


@pytest.fixture(params=["nginx", "caddy"])
def proxy(behind, request):
    return next(proxy for proxy in behind[1] if proxy.name == request.param)


@pytest.fixture
def client(proxy):
    with proxy.client() as client:
        client.headers["Authorization"] = f"bearer {TOKEN}"
        yield client


def _parts(body: bytes):
    for start in range(0, len(body), 7):
        yield body[start : start + 7]


def test_pictures_come_through_tls_prefix_and_a_foreign_name(client, model):
    sampler = Sampler.load(model, "cpu")
    body = json.dumps({"n": 4000, "seed": 3, "format": "raw"}).encode()
    answer = client.post(  # in chunks, and 3 MB back
        **named("/gan/v1/samples"), content=_parts(body),
        headers={"content-type": "application/json"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert np.array_equal(
        np.frombuffer(answer.content, np.uint8), sampler.sample(4000, seed=3).ravel()
    )
    picture = client.post(**named("/gan/v1/samples"), json={"seed": 5})
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(picture.content))), sampler.sample(1, 5)[0]
    )
    assert client.get(**named("/gan/v2/health/ready")).json() == {"ready": True}
    too_large = client.post(**named("/gan/v1/samples"), content=b" " * (9 << 20))
    assert too_large.status_code == 413


def test_the_page_finds_its_style_script_and_description_under_the_prefix(client):
    for start, linked in (("/gan/", 4), ("/gan/page/api.html", 4)):
        page = client.get(**named(start))
        assert page.status_code == 200
        links = re.findall(r'(?:href|src)="([^"#]+)"', page.text)
        assert len(links) == linked
        for link in links:
            found = client.get(**named(urljoin(start, link)))
            assert found.status_code == 200, link
            assert len(found.content) > 100
    document = client.get(**named("/gan/openapi.json")).json()
    assert urljoin("/gan/openapi.json", document["servers"][0]["url"]) == "/gan/"


def test_no_redirect_leaves_the_prefix_or_the_encryption(client):
    for asked, meant in (
        ("/gan", "/gan/"),
        ("/gan/docs", "/gan/page/api.html"),
        ("/gan/v1/model/?x=1", "/gan/v1/model?x=1"),
        ("/gan/page", "/gan/page/"),
    ):
        answer = client.get(**named(asked))
        assert answer.status_code in (301, 302, 307, 308), asked
        whole = f"https://{HOST}{asked}"
        assert urljoin(whole, answer.headers["location"]) == f"https://{HOST}{meant}"


def test_a_client_that_leaves_the_proxy_costs_no_more_than_its_batch(behind, proxy):
    service, _ = behind
    right = {"authorization": f"Bearer {TOKEN}"}

    def gone() -> float:
        text = service.client.get("/metrics", headers=right).text
        name = 'monge_requests_total{route="/v1/samples",status="499"}'
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
        return float(found[1]) if found else 0.0

    before = gone()
    body = json.dumps({"n": 80_000, "format": "raw"}).encode()
    head = (
        f"POST /gan/v1/samples HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with (
        socket.create_connection(("127.0.0.1", proxy.port)) as raw,
        proxy.tls.wrap_socket(raw, server_hostname=HOST) as connection,
    ):
        connection.sendall(head.encode() + body)
        time.sleep(0.2)
    patience_s = time.monotonic() + 60
    while gone() == before and time.monotonic() < patience_s:
        time.sleep(0.05)
    assert gone() == before + 1
