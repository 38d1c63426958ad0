"""A model repository for Triton Inference Server: the untouched file, and how to run it."""

from __future__ import annotations

import json
from pathlib import Path

from monge.contract import Contract
from monge.errors import InputError
from monge.files import write_whole

BUCKETS = (1, 4, 16, 64)
"""Batch sizes that Triton prefers and warms up: a GPU chooses its convolutions by them."""


def write_repository(
    model: bytes, contract: Contract, folder: Path, name: str, *, version: int = 1
) -> Path:
    """Write `folder/name/config.pbtxt` and `folder/name/1/model.onnx`; the model's folder.

    Raises InputError for a name that is none, or where another file is there under that version,
    StorageError on a full disk.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"{name!r} is no name for a model: use letters, digits, - and _.")
    place = folder / name / str(version) / "model.onnx"
    if place.exists() and place.read_bytes() != model:
        raise InputError(f"{place}: another file is there. Give a new version, or a new folder.")
    place.parent.mkdir(parents=True, exist_ok=True)
    write_whole(folder / name / "config.pbtxt", config(contract, name).encode("utf-8"))
    write_whole(folder / name / "contract.json", (contract.to_json() + "\n").encode("utf-8"))
    write_whole(place, model)
    return folder / name


def config(contract: Contract, name: str) -> str:
    """Triton's description of the model: requests share batches, every bucket is warmed up."""
    buckets = ", ".join(str(size) for size in BUCKETS)
    shape = ", ".join(str(size) for size in contract.image_shape)
    warm = ",\n".join(_warm_up(size, contract) for size in BUCKETS)
    inputs = f'{{ name: "latents" data_type: TYPE_FP32 dims: [ {contract.latent_dim} ] }}'
    if contract.conditional:  # the network's are [n], and Triton has no empty `dims`
        inputs += ', { name: "labels" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } }'
    return f"""\
name: {json.dumps(name)}
backend: "onnxruntime"
max_batch_size: {BUCKETS[-1]}
input [ {inputs} ]
output [ {{ name: "images" data_type: TYPE_UINT8 dims: [ {shape} ] }} ]
dynamic_batching {{
  preferred_batch_size: [ {buckets} ]
  max_queue_delay_microseconds: 500
}}
instance_group [ {{ count: 1 kind: KIND_AUTO }} ]
model_warmup [
{warm}
]
"""


def _warm_up(size: int, contract: Contract) -> str:
    inputs = (
        'inputs { key: "latents" value: { data_type: TYPE_FP32 '
        f"dims: [ {contract.latent_dim} ] random_data: true }} }}"
    )
    if contract.conditional:
        inputs += (
            ' inputs { key: "labels" value: { data_type: TYPE_INT64 dims: [ 1 ] zero_data: true } }'
        )
    return f'  {{ name: "batch {size}" batch_size: {size} {inputs} }}'
