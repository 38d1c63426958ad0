"""Latents of pictures over HTTP: `POST /v1/latents`, where the generator has an encoder."""

from __future__ import annotations

import asyncio
import io
import lzma
import time
import zipfile
import zlib
from http import HTTPStatus
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from monge.data.decode import decode_chunk
from monge.data.fitted import recipe
from monge.errors import InputError, Late, QueueFull
from monge.server.service import Limits, Service
from monge.serving.encoder import Encoder
from monge.serving.latents_file import LatentsFile
from monge.serving.sampler import Latents

MOST_PIXELS = 50_000_000
"""The pixels of one picture: a telephone's."""

_MOST_WAITING = 32
_ZIP = b"PK\x03\x04"  # no picture begins like this
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError,
    OSError, ValueError,
)  # fmt: skip
_FORMATS = ("json", "npz")
_DESCRIBED: dict[str, Any] = {
    "parameters": [
        {
            "name": "format", "in": "query", "required": False,
            "schema": {"type": "string", "enum": [*_FORMATS], "default": "json"},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("application/octet-stream", "image/*", "application/zip")
        },
    },
}  # fmt: skip
_ANSWERED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["generator", "names", "latents"],
                    "properties": {
                        "generator": {"type": "string"},
                        "names": {"type": "array", "items": {"type": "string"}},
                        "latents": {
                            "type": "array",
                            "items": {"type": "array", "items": {"type": "number"}},
                        },
                    },
                }
            },
            "application/x-npz": {},
        }
    }
}


def router(service: Service) -> APIRouter:
    """Build the route."""
    routes = APIRouter(prefix="/v1", tags=["images"])
    turns = Turns(service.limits.timeout_s)

    @routes.post("/latents", response_class=Response, responses=_ANSWERED, openapi_extra=_DESCRIBED)
    async def latents(request: Request) -> Response:
        """Latents of a picture, or of those in a zip, fitted as the training's pictures were.

        The body is the bytes of one picture's file, or of a zip of several. The answer names the
        generator that the latents belong to, and no other draws them; `format=npz` gives what
        `monge sample --latents` reads. 404 where the generator has no encoder.
        """
        model = service.model()
        if model.encoder is None:
            raise HTTPException(
                HTTPStatus.NOT_FOUND,
                f"{model.name} version {model.version} has no encoder: only generators trained "
                "with vae, wae-mmd or wae-gan have one.",
            )
        wanted, encoder = _format(request), model.encoder
        body = await request.body()
        names, found = await turns.encoded(encoder, body, service.limits)
        of = encoder.contract.generator
        answer = (
            Response(LatentsFile(found, of, names).to_bytes(), media_type="application/x-npz")
            if wanted == "npz"
            else JSONResponse({"generator": of, "names": names, "latents": found.tolist()})
        )
        answer.raw_headers += model.raw_facts
        return answer

    return routes


class Turns:
    """Lets one request at a time read its pictures: what a decoder may take is then bounded.

    Decoding also sets limits of Pillow's that hold for the whole process.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def encoded(
        self, encoder: Encoder, body: bytes, limits: Limits
    ) -> tuple[tuple[str, ...], Latents]:
        """Names and latents of the pictures in a body. Raises InputError, QueueFull, Late."""
        if self._waiting >= _MOST_WAITING:
            raise QueueFull(self._waiting, 1.0)
        until_s = time.monotonic() + self.timeout_s
        self._waiting += 1
        try:
            async with asyncio.timeout(self.timeout_s):
                await self._turn.acquire()
        except TimeoutError:
            raise _late(self.timeout_s) from None
        finally:
            self._waiting -= 1
        # The turn ends with the thread, not with the client who may go away before.
        work = asyncio.ensure_future(
            asyncio.to_thread(_encoded, encoder, body, limits, until_s, self.timeout_s)
        )
        work.add_done_callback(self._end)
        return await asyncio.shield(work)

    def _end(self, work: asyncio.Future[Any]) -> None:
        self._turn.release()
        if not work.cancelled():
            work.exception()  # looked at, also where nobody waits for it any more


def _encoded(
    encoder: Encoder, body: bytes, limits: Limits, until_s: float, timeout_s: float
) -> tuple[tuple[str, ...], Latents]:
    contract = encoder.contract
    files = _files(body, limits)
    size = len(files) * int(np.prod(contract.image_shape))
    if len(files) > limits.images or size > limits.result_bytes:
        raise InputError(
            f"{len(files)} pictures are more than one request may bring: {limits.images} pictures "
            f"and {limits.result_bytes} bytes of pixels. Send them in parts."
        )
    how = recipe(contract.image_shape, contract.preparation, MOST_PIXELS)
    images = np.empty((len(files), *contract.image_shape), np.uint8)
    for row, (name, content) in enumerate(files):
        if time.monotonic() > until_s:
            raise _late(timeout_s)
        decoded = decode_chunk([content], how)
        reason = decoded.reasons[0]
        if reason is not None:
            raise InputError(f"{name}: {reason.replace(' (prepare.max_pixels)', '')}.")
        images[row] = decoded.images[0].transpose(1, 2, 0)
    return tuple(name for name, _ in files), encoder.encode(images)


def _files(body: bytes, limits: Limits) -> list[tuple[str, bytes]]:
    """The pictures of a body by name: itself, or what a zip holds. Raises InputError."""
    if not body:
        raise InputError("the body is empty: send the bytes of a picture's file, or of a zip.")
    if not body.startswith(_ZIP):
        return [("picture", body)]
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            members = [member for member in archive.infolist() if _is_picture(member)]
            if len(members) > limits.images:
                raise InputError(
                    f"the zip holds {len(members)} files; one request may bring {limits.images}."
                )
            files, left = list[tuple[str, bytes]](), limits.result_bytes
            for member in members:
                with archive.open(member) as file:
                    content = file.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise InputError(
                        f"the zip unpacks to more than {limits.result_bytes} bytes: send it in "
                        "parts."
                    )
                files.append((member.filename, content))
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"the zip cannot be read: {reason}.") from None
    if not files:
        raise InputError("the zip holds no files.")
    return files


def _is_picture(member: zipfile.ZipInfo) -> bool:
    """Tell whether it is a file that a person put there, not a folder or a system's own note."""
    last = member.filename.rpartition("/")[2]
    return last not in ("", "Thumbs.db") and not last.startswith(".")


def _format(request: Request) -> str:
    wanted = request.query_params.get("format", "json")
    if wanted not in _FORMATS:
        raise InputError(f"format: {' or '.join(_FORMATS)}, got {wanted[:40]!r}.")
    return wanted


def _late(timeout_s: float) -> Late:
    return Late(f"not encoded within {timeout_s:g} s. Send fewer pictures, or later.")
