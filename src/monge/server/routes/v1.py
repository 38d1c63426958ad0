"""Images over HTTP: `POST /v1/samples` and `POST /v1/interpolations`, `GET /v1/model`."""

from __future__ import annotations

import dataclasses
import io
import time
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from PIL import Image

from monge.errors import InputError
from monge.server.batching.inputs import Rows
from monge.server.models import Model
from monge.server.routes.bodies import Interpolation, Samples
from monge.server.service import Service, computed
from monge.serving import pictures
from monge.serving.marks import Marker, save
from monge.serving.sampler import Images

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same images make the same zip
_TYPES = {
    "png": "image/png", "webp": "image/webp", "npz": "application/x-npz",
    "raw": "application/octet-stream",
}  # fmt: skip


def router(service: Service) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(prefix="/v1", tags=["images"])
    answers: dict[int | str, dict[str, Any]] = {
        200: {"content": {kind: {} for kind in (*_TYPES.values(), "application/zip")}}
    }

    @routes.get("/model")
    async def model() -> dict[str, Any]:
        """Name the model that answers now, with its contract."""
        now = service.model()
        return {
            "name": now.name,
            "version": now.version,
            "model_hash": now.sampler.model_hash,
            "provider": now.sampler.provider,
            "batches": list(now.sampler.batches),
            "encoder": now.encoder is not None,
            "contract": dataclasses.asdict(now.sampler.contract),
            "limits": dataclasses.asdict(service.limits),
        }

    @routes.post("/samples", response_class=Response, responses=answers)
    async def samples(body: Samples, request: Request) -> Response:
        """Images of a seed: the same ones for the same seed, whatever else is asked meanwhile."""
        began_s, model = time.perf_counter(), service.model()
        service.check(model, body.count)
        rows = body.rows(model.sampler)
        return await _answer(service, request, model, rows, body, body.columns, began_s)

    @routes.post("/interpolations", response_class=Response, responses=answers)
    async def interpolations(body: Interpolation, request: Request) -> Response:
        """A walk between two images, in a row."""
        began_s, model = time.perf_counter(), service.model()
        service.check(model, body.steps)
        dim = model.sampler.contract.latent_dim
        rows = await computed(body.steps * dim, lambda: body.rows(model.sampler))
        columns = body.columns or min(body.steps, 1024)
        return await _answer(service, request, model, rows, body, columns, began_s)

    return routes


async def _answer(
    service: Service,
    request: Request,
    model: Model,
    rows: Rows,
    wanted: Samples | Interpolation,
    columns: int | None,
    began_s: float,
) -> Response:
    """Draw, encode, and tell beside the images what they are."""
    images = await service.draw(request, model, rows)
    ready_s = time.perf_counter()
    # A grid enlarges small images: what is compressed is more than what was drawn.
    values = 0 if wanted.format == "raw" else 16 * images.size
    content, kind = await computed(values, lambda: encode(images, wanted, columns, model.marker))
    if len(content) > service.limits.result_bytes:
        raise InputError(f"the answer would be {len(content)} bytes; ask for fewer images.")
    answer = Response(content, media_type=kind)
    answer.raw_headers += [*model.raw_facts, *_facts(images, began_s, ready_s)]
    return answer


def _facts(images: Images, began_s: float, ready_s: float) -> list[tuple[bytes, bytes]]:
    drawn_ms = (ready_s - began_s) * 1e3
    total_ms = (time.perf_counter() - began_s) * 1e3
    return [
        (b"monge-shape", ",".join(map(str, images.shape)).encode()),
        (b"server-timing", f"draw;dur={drawn_ms:.1f}, total;dur={total_ms:.1f}".encode()),
    ]


def encode(
    images: Images,
    wanted: Samples | Interpolation,
    columns: int | None,
    marker: Marker | None = None,
) -> tuple[bytes | memoryview, str]:
    """Write images as what was wanted, with their mark: the bytes and their media type."""
    if wanted.format == "raw":
        return images.data.cast("B"), _TYPES["raw"]
    buffer = io.BytesIO()
    if wanted.format == "npz":
        np.savez(buffer, images=images)
        return buffer.getvalue(), _TYPES["npz"]

    def packet(i: int | None) -> bytes | None:
        laid = {} if i is not None else {"layout": "grid", "columns": columns}
        return None if marker is None else marker.packet({**wanted.recipe(i), **laid})

    if wanted.layout == "zip":
        _zip(images, wanted.format, buffer, packet)
        return buffer.getvalue(), "application/zip"
    if len(images) == 1 and columns is None:
        _save(pictures.picture(images[0]), wanted.format, buffer, packet(0))
    else:
        _save(pictures.grid(images, columns), wanted.format, buffer, packet(None))
    return buffer.getvalue(), _TYPES[wanted.format]


def _zip(
    images: Images, form: str, buffer: io.BytesIO, packet: Callable[[int], bytes | None]
) -> None:
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for i, image in enumerate(images):
            one = io.BytesIO()
            _save(pictures.picture(image), form, one, packet(i))
            archive.writestr(zipfile.ZipInfo(f"{i:05}.{form}", _EPOCH), one.getvalue())


def _save(picture: Image.Image, form: str, buffer: io.BytesIO, packet: bytes | None) -> None:
    quick = {"compress_level": 1} if form == "png" else {}
    save(picture, buffer, form, packet, **quick)
