"""examples/browser: the same file and seed give the same images inside a browser."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from monge.serving.sampler import Sampler
from tests.running import SHAPE

EXAMPLE = Path(__file__).parents[2] / "examples" / "browser"


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012
        **http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }  # fmt: skip

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["model", "conditional"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The example as its README sets it up: its address, and the file."""
    model: Path = request.getfixturevalue(request.param)
    folder = tmp_path / "browser"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copy(model, folder / "generator.onnx")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here")
    done = subprocess.run(
        [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder, capture_output=True, text=True, timeout=200,
        env=os.environ | {"ONNXRUNTIME_NODE_INSTALL": "skip"},
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"npm cannot install onnxruntime-web here: {done.stderr[-300:]}")
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", model
        server.shutdown()
        thread.join()


def test_a_browser_draws_the_same_images(page, site):
    address, model = site
    sampler = Sampler.load(model, "cpu")
    page.goto(address)
    told = page.locator("#told:has-text('in this browser')")
    told.wait_for(timeout=60_000)
    assert page.locator("#class").is_visible() == sampler.contract.conditional
    label = None
    if sampler.contract.conditional:
        label = 2
        page.fill("#label", "2")
        page.evaluate("document.getElementById('told').textContent = ''")
        page.click("button")
        told.wait_for(timeout=60_000)
    height, width = SHAPE[1:]
    values = page.evaluate(
        """() => { const c = document.getElementById('images');
        return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }"""
    )
    canvas = np.array(values, np.uint8).reshape(4 * height, 4 * width, 4)[..., :3]
    tiles = canvas.reshape(4, height, 4, width, 3).transpose(0, 2, 1, 3, 4)
    expected = sampler.sample(16, seed=5, labels=label)
    apart = np.abs(tiles.reshape(expected.shape).astype(int) - expected)
    assert apart.max() <= 1
    assert (apart > 0).mean() <= 1e-3
