"""Protects: behind a proxy that leaves its prefix in the path all is found, and no more is open."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import numpy as np
import pytest

from monge.errors import InputError
from monge.server.app import build
from monge.server.middleware.access import Access
from monge.server.middleware.admission import admission
from monge.server.models import open_model
from monge.server.settings import Settings
from monge.serving.sampler import Sampler

TOKEN = {"authorization": "Bearer 0123456789abcdef"}


@contextmanager
def asking(model: Path) -> Iterator[Any]:
    """A function that asks the service as such a proxy does, with whole addresses as answers."""
    settings = Settings(root_path="/a/gan/", allowed_hosts=("gan.example",))
    app = build(open_model(str(model), "cpu", 1))
    runner = asyncio.Runner()
    life = app.router.lifespan_context(app)
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(Access(app, admission(settings))),
        base_url="http://gan.example",
    )

    async def ready() -> None:
        await life.__aenter__()
        while not app.state.service.ready:
            await asyncio.sleep(0.01)

    async def over() -> None:
        await life.__aexit__(None, None, None)
        await client.aclose()

    runner.run(ready())
    try:
        yield lambda *asked, **more: runner.run(client.request(*asked, **more))
    finally:
        runner.run(over())
        runner.close()


def test_a_prefix_that_the_proxy_leaves_in_the_path_is_taken_off(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGE_TOKEN", "0123456789abcdef")
    with asking(model) as ask:
        drawn = ask("POST", "/a/gan/v1/samples", json={"seed": 3, "format": "raw"}, headers=TOKEN)
        assert drawn.status_code == 200, drawn.text
        expected = Sampler.load(model, "cpu").sample(1, seed=3)
        assert np.array_equal(np.frombuffer(drawn.content, np.uint8), expected.ravel())
        for start in ("/a/gan/", "/a/gan/page/api.html"):
            links = re.findall(r'(?:href|src)="([^"#]+)"', ask("GET", start).text)
            assert len(links) == 4
            for link in links:
                found = ask("GET", urljoin(start, link), headers=TOKEN)
                assert found.status_code == 200, link
        for asked, meant in (
            ("/a/gan", "/a/gan/"),
            ("/a/gan/docs", "/a/gan/page/api.html"),
            ("/a/gan/v1/model/", "/a/gan/v1/model"),
        ):
            answer = ask("GET", asked, headers=TOKEN)
            assert answer.is_redirect, asked
            assert urljoin(asked, answer.headers["location"]) == meant
        assert ask("GET", "/a/gan/v1/model").status_code == 401, "no door beside the token"
        for neighbour in ("/a/gander/v1/model", "/a/v1/model", "/a/gan/a/gan/v1/model"):
            assert ask("GET", neighbour, headers=TOKEN).status_code == 404, neighbour
        for health in ("/a/gan/v2/health/ready", "/v2/health/ready"):  # a probe has no proxy
            assert ask("GET", health).json() == {"ready": True}


def test_a_prefix_begins_with_a_slash() -> None:
    with pytest.raises(InputError, match=r"--root-path begins with /, as /gan, got 'gan'"):
        Settings(root_path="gan")
