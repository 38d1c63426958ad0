"""The Open Inference Protocol, version 2, for clients of Triton, KServe and MLServer.

One model with the input `latents` FP32 [n, latent_dim], for a conditional generator also `labels`
INT64 [n], and the output `images` UINT8 [n, H, W, C]; as JSON or, by the extension for binary
tensors, as bytes behind it.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from monge import __version__
from monge.errors import InputError
from monge.server.batching.inputs import Rows
from monge.server.models import Model
from monge.server.service import Service, computed
from monge.serving.sampler import Images

JSON_LENGTH = "Inference-Header-Content-Length"

_INPUT, _LABELS, _OUTPUT = "latents", "labels", "images"
_TYPES = {_INPUT: ("FP32", np.float32), _LABELS: ("INT64", np.int64)}


def router(service: Service) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(prefix="/v2", tags=["open inference protocol"])
    _add_health(routes, service)
    _add_model(routes, service)
    _add_infer(routes, service)
    return routes


def _add_health(routes: APIRouter, service: Service) -> None:
    @routes.get("")
    async def server() -> dict[str, Any]:
        """Name the server."""
        return {"name": "monge", "version": __version__, "extensions": ["binary_tensor_data"]}

    @routes.get("/health/live")
    async def live() -> dict[str, bool]:
        """The process answers."""
        return {"live": True}

    @routes.get("/health/ready")
    async def ready() -> dict[str, bool]:
        """The model is warm: 503 before that, and while shutting down."""
        service.model()
        return {"ready": True}


def _add_model(routes: APIRouter, service: Service) -> None:
    @routes.get("/models/{name}")
    @routes.get("/models/{name}/versions/{version}")
    async def metadata(name: str, version: str | None = None) -> dict[str, Any]:
        """The model's inputs and outputs."""
        model = _model(service, name, version)
        contract = model.sampler.contract
        return {
            "name": model.name,
            "versions": [model.version],
            "platform": "onnxruntime_onnx",
            "inputs": [
                {"name": _INPUT, "datatype": "FP32", "shape": [-1, contract.latent_dim]},
                *[{"name": _LABELS, "datatype": "INT64", "shape": [-1]}] * contract.conditional,
            ],
            "outputs": [
                {"name": _OUTPUT, "datatype": "UINT8", "shape": [-1, *contract.image_shape]}
            ],
        }

    @routes.get("/models/{name}/ready")
    @routes.get("/models/{name}/versions/{version}/ready")
    async def model_ready(name: str, version: str | None = None) -> dict[str, Any]:
        """Tell whether this model answers."""
        return {"name": _model(service, name, version).name, "ready": True}


def _add_infer(routes: APIRouter, service: Service) -> None:
    answers: dict[int | str, dict[str, Any]] = {
        200: {"content": {"application/json": {}, "application/octet-stream": {}}}
    }

    @routes.post("/models/{name}/infer", response_class=Response, responses=answers)
    @routes.post(
        "/models/{name}/versions/{version}/infer", response_class=Response, responses=answers
    )
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        """Draw the images of given latents."""
        model = _model(service, name, version)
        body = await request.body()
        told = request.headers.get(JSON_LENGTH)
        document, tail = await computed(len(body), lambda: _document(body, told))
        given = await computed(len(body), lambda: _inputs(document, tail))
        service.check(model, len(given[_INPUT]))
        # Here, so that nobody else's batch is spoilt.
        latents = model.sampler.checked(given[_INPUT])
        labels = model.sampler.checked_labels(given.get(_LABELS), len(latents))
        images = await service.draw(request, model, Rows(latents, labels))
        binary = _wants_bytes(document)
        told_id = document.get("id")
        return await computed(images.size, lambda: _answer(model, told_id, images, binary))


def _model(service: Service, name: str, version: str | None) -> Model:
    """The model that answers, when it is the one that was named. Raises a refusal otherwise."""
    model = service.model()
    if name != model.name or version not in (None, model.version):
        raise HTTPException(404, f"here is {model.name} version {model.version}.")
    return model


def _document(body: bytes, told: str | None) -> tuple[dict[str, Any], bytes]:
    """Cut a body into its JSON and the bytes of its tensors."""
    if told is not None and not (told.isascii() and told.isdigit() and int(told) <= len(body)):
        raise InputError(f"{JSON_LENGTH} must be at most the body's {len(body)} bytes.")
    size = len(body) if told is None else int(told)
    try:
        document = json.loads(body[:size])
    except (ValueError, RecursionError):
        raise InputError("the body is not JSON that can be read.") from None
    if not isinstance(document, dict):
        raise InputError("the body must be a mapping with `inputs`.")
    return document, body[size:]


def _inputs(document: dict[str, Any], tail: bytes) -> dict[str, NDArray[Any]]:
    """Read the inputs by name: latents float32 [n, d], n at least 1, and maybe labels int64 [n]."""
    inputs = document.get("inputs")
    if not (isinstance(inputs, list) and 1 <= len(inputs) <= len(_TYPES)):
        raise InputError(f"inputs: must be a list of tensors, {_INPUT!r} and maybe {_LABELS!r}.")
    found: dict[str, NDArray[Any]] = {}
    for tensor in inputs:
        name = str(tensor.get("name")) if isinstance(tensor, dict) else ""
        known = name in _TYPES and name not in found
        if not known or tensor.get("datatype") != _TYPES[name][0]:
            wanted = ", ".join(f"{key!r} of datatype {kind}" for key, (kind, _) in _TYPES.items())
            raise InputError(f"inputs: must be tensors {wanted}, each once.")
        found[name], tail = _tensor(name, tensor, tail)
    if tail:
        raise InputError("bytes came behind the JSON, and no tensor has binary_data_size.")
    if _INPUT not in found:
        raise InputError(f"inputs: {_INPUT!r} is missing.")
    return found


def _tensor(name: str, tensor: dict[str, Any], tail: bytes) -> tuple[NDArray[Any], bytes]:
    """Read one tensor, from the bytes behind the JSON or from its list; and the bytes left."""
    shape, dtype = _shape(name, tensor.get("shape")), np.dtype(_TYPES[name][1])
    size = _parameters(tensor).get("binary_data_size")
    if size is None:
        return _from_list(name, tensor.get("data"), shape, dtype), tail
    if type(size) is not int or size > len(tail) or size != dtype.itemsize * math.prod(shape):
        raise InputError(f"{name}: {len(tail)} bytes came, its shape {shape} needs others.")
    values = np.frombuffer(tail[:size], dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    return values, tail[size:]


def _shape(name: str, shape: Any) -> list[int]:
    """Check it: [n, latent_dim] for latents, [n] for labels, where Triton's clients send [n, 1]."""
    sides: list[int] = shape if isinstance(shape, list) else []
    if name == _LABELS and len(sides) == 2 and sides[1] == 1:
        sides = sides[:1]
    most = {_INPUT: [1 << 24, 1 << 16], _LABELS: [1 << 24]}[name]
    if len(sides) != len(most) or any(type(side) is not int for side in sides):
        told = "[n, latent_dim]" if name == _INPUT else "[n]"
        raise InputError(f"{name}: shape must be {told}, got {str(shape)[:80]}.")
    if not all(1 <= side <= limit for side, limit in zip(sides, most, strict=True)):
        raise InputError(f"{name}: shape {sides} is out of range.")
    return sides


def _from_list(name: str, data: Any, shape: list[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Take numbers, flat or nested."""
    try:
        values = np.asarray(data)
    except ValueError:
        raise InputError(f"{name}: data is not a block of numbers.") from None
    kinds = "fiu" if dtype.kind == "f" else "i"
    if values.dtype.kind not in kinds or values.size != math.prod(shape):
        raise InputError(f"{name}: data must be the {math.prod(shape)} numbers of its shape.")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
        return np.asarray(values, dtype).reshape(shape)


def _wants_bytes(document: dict[str, Any]) -> bool:
    """Tell whether the one output is asked for as bytes."""
    wanted = _parameters(document).get("binary_data_output", False)
    outputs = document.get("outputs")
    if outputs is None:
        return wanted is True
    if not (isinstance(outputs, list) and len(outputs) == 1 and isinstance(outputs[0], dict)):
        raise InputError(f"outputs: must be a list of one tensor, {_OUTPUT!r}.")
    if outputs[0].get("name") != _OUTPUT:
        raise InputError(f"outputs: there is {_OUTPUT!r} and no other.")
    return _parameters(outputs[0]).get("binary_data", wanted) is True


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _answer(model: Model, request_id: Any, images: Images, binary: bool) -> Response:
    output: dict[str, Any] = {"name": _OUTPUT, "datatype": "UINT8", "shape": list(images.shape)}
    document = {"model_name": model.name, "model_version": model.version, "outputs": [output]}
    if isinstance(request_id, str):
        document["id"] = request_id
    if not binary:
        output["data"] = images.ravel().tolist()
        return JSONResponse(document, headers=model.facts)
    output["parameters"] = {"binary_data_size": images.nbytes}
    head = json.dumps(document).encode()
    return Response(
        head + images.tobytes(),
        headers={**model.facts, JSON_LENGTH: str(len(head))},
        media_type="application/octet-stream",
    )
