"""Describes a generator file, and what it costs here, in lines for a person."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from monge import sizes
from monge.alpha import COLOURS
from monge.operators import check_operators
from monge.serving import origin
from monge.serving.sampler import Sampler

BATCHES = (1, 16, 64)
_EACH_S = 0.3


def describe(model: str | Path, provider: str = "auto", threads: int = 0) -> Iterator[str]:
    """The contract, the operators, and images a second at a few batch sizes on this machine.

    Raises what Sampler.load raises.
    """
    sampler = Sampler.load(model, provider, threads)
    data = origin.read(sampler.origin)
    contract = sampler.contract
    height, width, channels = contract.image_shape
    yield f"{model}: {len(data):,} bytes, SHA-256 {sampler.model_hash}"
    yield f"  latents    {contract.latent_dim} values, {contract.latent_distribution}"
    yield f"  images     {sizes.told(width, height)}, {COLOURS[channels]}, uint8"
    yield f"  classes    {', '.join(contract.classes) or 'none known'}"
    if contract.conditional:
        yield f"  labels     0 to {len(contract.label_shares) - 1}, a class for each image"
    yield f"  weights    {contract.weights}, of step {contract.step}, run {contract.run or '-'}"
    yield f"  dataset    {contract.dataset_hash or '-'}"
    exported = f", exported at {contract.export_revision}" if contract.export_revision else ""
    yield f"  revision   {contract.git_revision or '-'}{exported}"
    yield f"  made by    monge {contract.monge_version}, contract {contract.format_version}"
    for name in ("parameters", "export_parameters", "metrics"):
        if values := getattr(contract, name):
            yield f"  {name:10} {json.dumps(values, sort_keys=True)}"
    counted = sorted(check_operators(data, model).items())
    yield f"  operators  {', '.join(f'{name} {count}' for name, count in counted)}"
    yield from _speeds(sampler)


def _speeds(sampler: Sampler) -> Iterator[str]:
    yield f"on {sampler.provider} here:"
    for batch in BATCHES:
        sampler.blank(batch)
        began_s = time.perf_counter()
        times: list[float] = []
        while not times or time.perf_counter() - began_s < _EACH_S:
            start_s = time.perf_counter()
            sampler.blank(batch)
            times.append(time.perf_counter() - start_s)
        middle_s = float(np.median(times))
        yield f"  batch {batch:3}  {batch / middle_s:10,.0f} images/s  {middle_s * 1e3:8.2f} ms"
