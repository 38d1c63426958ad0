"""The Open Inference Protocol, version 2, for clients of Triton, KServe and MLServer.

One model with the input `latents` FP32 [n, latent_dim] and the output `images` UINT8 [n, H, W, C],
as JSON or, by the extension for binary tensors, as bytes behind it.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from monge import __version__
from monge.errors import InputError
from monge.server.drawing import Drawing, computed
from monge.server.models import Model
from monge.serving.sampler import Images, Latents

JSON_LENGTH = "Inference-Header-Content-Length"

_INPUT, _OUTPUT = "latents", "images"


def router(drawing: Drawing) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(prefix="/v2", tags=["open inference protocol"])

    @routes.get("")
    async def server() -> dict[str, Any]:
        """What serves."""
        return {"name": "monge", "version": __version__, "extensions": ["binary_tensor_data"]}

    @routes.get("/health/live")
    async def live() -> dict[str, bool]:
        """The process answers."""
        return {"live": True}

    @routes.get("/health/ready")
    async def ready() -> dict[str, bool]:
        """The model is warm: 503 before that, and while shutting down."""
        drawing.model()
        return {"ready": True}

    @routes.get("/models/{name}")
    @routes.get("/models/{name}/versions/{version}")
    async def metadata(name: str, version: str | None = None) -> dict[str, Any]:
        """The model's inputs and outputs."""
        model = _model(name, version)
        contract = model.sampler.contract
        return {
            "name": model.name,
            "versions": [model.version],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": _INPUT, "datatype": "FP32", "shape": [-1, contract.latent_dim]}],
            "outputs": [
                {"name": _OUTPUT, "datatype": "UINT8", "shape": [-1, *contract.image_shape]}
            ],
        }

    @routes.get("/models/{name}/ready")
    @routes.get("/models/{name}/versions/{version}/ready")
    async def model_ready(name: str, version: str | None = None) -> dict[str, Any]:
        """Whether this model answers."""
        return {"name": _model(name, version).name, "ready": True}

    answers: dict[int | str, dict[str, Any]] = {
        200: {"content": {"application/json": {}, "application/octet-stream": {}}}
    }

    @routes.post("/models/{name}/infer", response_class=Response, responses=answers)
    @routes.post(
        "/models/{name}/versions/{version}/infer", response_class=Response, responses=answers
    )
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        """Draw the images of given latents."""
        model = _model(name, version)
        body = await request.body()
        told = request.headers.get(JSON_LENGTH)
        if request.headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "compressed bodies are not read.")
        document, tail = await computed(len(body), lambda: _document(body, told))
        given = await computed(len(body), lambda: _latents(document, tail))
        drawing.check(model, len(given))
        latents = model.sampler.checked(given)  # here, so that nobody else's batch is spoilt
        images = await drawing.draw(request, model, latents)
        binary = _wants_bytes(document)
        told_id = document.get("id")
        return await computed(images.size, lambda: _answer(model, told_id, images, binary))

    def _model(name: str, version: str | None) -> Model:
        model = drawing.model()
        if name != model.name or version not in (None, model.version):
            raise HTTPException(404, f"here is {model.name} version {model.version}.")
        return model

    return routes


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


def _latents(document: dict[str, Any], tail: bytes) -> Latents:
    """Read the one input: float32 [n, d], n at least 1."""
    inputs = document.get("inputs")
    if not (isinstance(inputs, list) and len(inputs) == 1 and isinstance(inputs[0], dict)):
        raise InputError(f"inputs: must be a list of one tensor, {_INPUT!r}.")
    tensor = inputs[0]
    if tensor.get("name") != _INPUT or tensor.get("datatype") != "FP32":
        raise InputError(f"inputs: must be {_INPUT!r} of datatype FP32.")
    shape = tensor.get("shape")
    if not (isinstance(shape, list) and len(shape) == 2 and all(type(s) is int for s in shape)):
        raise InputError(f"{_INPUT}: shape must be [n, latent_dim], got {str(shape)[:80]}.")
    if not (1 <= shape[0] <= 1 << 24 and 1 <= shape[1] <= 1 << 16):
        raise InputError(f"{_INPUT}: shape {shape} is out of range.")
    size = _parameters(tensor).get("binary_data_size")
    if size is not None:
        if type(size) is not int or size != len(tail) or size != 4 * shape[0] * shape[1]:
            raise InputError(f"{_INPUT}: {len(tail)} bytes came, its shape {shape} needs others.")
        return np.frombuffer(tail, "<f4").astype(np.float32).reshape(shape)
    if tail:
        raise InputError("bytes came behind the JSON, and no tensor has binary_data_size.")
    return _from_list(tensor.get("data"), shape)


def _from_list(data: Any, shape: list[int]) -> Latents:
    """Take numbers, flat or nested."""
    try:
        values = np.asarray(data)
    except ValueError:
        raise InputError(f"{_INPUT}: data is not a block of numbers.") from None
    if values.dtype.kind not in "fiu" or values.size != shape[0] * shape[1]:
        raise InputError(f"{_INPUT}: data must be the {shape[0] * shape[1]} numbers of its shape.")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
        return np.asarray(values, np.float32).reshape(shape)


def _wants_bytes(document: dict[str, Any]) -> bool:
    """Whether the one output is asked for as bytes."""
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
