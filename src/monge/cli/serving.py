"""`monge sample`, `inspect` and `serve`: what needs a generator file and nothing else."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monge.cli.base import app
from monge.errors import InputError

if TYPE_CHECKING:
    from monge.serving.sampler import Sampler


class Provider(StrEnum):
    """ONNX Runtime's execution provider."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Shards(StrEnum):
    """How a folder of shards is written."""

    webdataset = "webdataset"
    parquet = "parquet"


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help="A .onnx file, an address, models:/NAME@champion.")],
    n: Annotated[int, typer.Option("-n", help="How many images.")] = 64,
    seed: Annotated[int, typer.Option(help="Image i of a seed is always the same.")] = 0,
    first: Annotated[int, typer.Option(help="Index of the first image.")] = 0,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png (grid), a .npz, or a folder of PNGs.")
    ] = Path("samples.png"),
    provider: Annotated[
        Provider, typer.Option(case_sensitive=False, help="Where to compute.")
    ] = Provider.auto,
    truncation: Annotated[
        float | None, typer.Option(help="Latents within so many standard deviations.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="A class, by name or number, of a conditional generator.")
    ] = None,
    latents: Annotated[
        Path | None, typer.Option(help="Draw those of `monge encode`, in the place of a seed's.")
    ] = None,
    shards: Annotated[
        Shards | None,
        typer.Option(
            case_sensitive=False, help="Fill a folder with shards; the same command goes on."
        ),
    ] = None,
    shard_size: Annotated[int, typer.Option(help="Images of a shard.")] = 10_000,
) -> None:
    """Draw images from a generator file or a registered model."""
    if n < 1:
        raise InputError(f"-n must be at least 1, got {n}.")
    from monge.labels import named
    from monge.serving import pictures
    from monge.serving.sampler import Sampler

    sampler = Sampler.load(model, provider=provider.value)
    wanted = (
        None
        if label is None
        else named(label, sampler.contract.label_shares, sampler.contract.classes)
    )
    if latents is not None:
        typer.echo(_drawn_again(sampler, latents, wanted, output))
        return
    if shards is None:
        images = sampler.sample(n, seed, first, truncation, wanted)
        pictures.write(images, output)
    else:
        if first or truncation is not None:
            raise InputError("--shards takes neither --first nor --truncation.")
        plan = {"n": n, "seed": seed, "shard_size": shard_size, "label": wanted}
        _fill(sampler, output, **plan, format=shards.value)
    of_class = "" if wanted is None else f" of {_class(wanted, sampler.contract.classes)}"
    typer.echo(f"{n} images{of_class} of seed {seed} in {output} ({sampler.provider})")


def _drawn_again(sampler: Sampler, latents: Path, label: int | None, output: Path) -> str:
    """Draw the latents of a file, which must be this generator's."""
    import numpy as np

    from monge.serving import pictures
    from monge.serving.latents_file import LatentsFile

    found = LatentsFile.read(latents)
    found.refuse_other(latents, sampler.model_hash)
    labels = found.labels if label is None else np.full(len(found.latents), label, np.int64)
    pictures.write(sampler.run(found.latents, labels), output)
    return f"{len(found.latents)} images of {latents} in {output} ({sampler.provider})"


def _class(label: int, classes: Sequence[str]) -> str:
    name = f"class {classes[label]!r}, " if label < len(classes) else ""
    return f"{name}label {label},"


def _fill(sampler: Sampler, folder: Path, **plan: Any) -> None:
    """Make the shards that are missing: a bar on a terminal, a line every 10 s elsewhere."""
    from monge.serving import bulk

    whole = bulk.Plan(**plan, model_hash=sampler.model_hash)
    done, told_s = 0, time.monotonic()
    with typer.progressbar(length=whole.n, label="sample", file=sys.stderr) as bar:

        def progress(images: int) -> None:
            nonlocal done, told_s
            done += images
            bar.update(images)
            if not sys.stderr.isatty() and time.monotonic() - told_s > 10.0:
                told_s = time.monotonic()
                logging.getLogger("monge").info("%d of %d images", done, whole.n)

        bulk.write(sampler, folder, whole, progress)


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="A .onnx file, an address, models:/NAME@champion.")],
    provider: Annotated[
        Provider, typer.Option(case_sensitive=False, help="Where to compute.")
    ] = Provider.auto,
) -> None:
    """What a generator file says of itself, and how fast it is here."""
    from monge.serving.inspect import describe

    for line in describe(model, provider.value):
        typer.echo(line)


@app.command()
def serve(
    model: Annotated[
        str,
        typer.Argument(
            help="A .onnx file, an address, or models:/NAME@champion, which is followed."
        ),
    ],
    host: Annotated[str, typer.Option(help="Anything but loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    provider: Annotated[
        Provider, typer.Option(case_sensitive=False, help="Where to compute.")
    ] = Provider.auto,
    threads: Annotated[
        int, typer.Option(min=0, help="Of the network; 0: one a core, or one a replica.")
    ] = 0,
    batches: Annotated[
        str | None,
        typer.Option(help="Sizes to draw in, as 1,16,64: on a GPU, quicker for few and for many."),
    ] = None,
    max_images: Annotated[int, typer.Option(min=1, help="Of one request.")] = 1024,
    queue_images: Annotated[int, typer.Option(min=1, help="That may wait; beyond it: 429.")] = 4096,
    timeout_s: Annotated[float, typer.Option(min=0.001, help="Of one request.")] = 30.0,
    rate: Annotated[float, typer.Option(min=0, help="Requests a second of a client; 0: any.")] = 0,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token; else MONGE_TOKEN.")
    ] = None,
    poll_s: Annotated[float, typer.Option(min=0.1, help="How often the alias is looked at.")] = 10,
    replicas: Annotated[
        int | None,
        typer.Option(min=1, help="So many processes, by Ray: here, or where RAY_ADDRESS says."),
    ] = None,
    max_replicas: Annotated[
        int | None, typer.Option(min=1, help="Up to so many, while requests wait.")
    ] = None,
    replica_requests: Annotated[
        int | None, typer.Option(min=1, help="In progress, for one more replica to start: 32.")
    ] = None,
    replica_gpus: Annotated[
        float | None, typer.Option(min=0, help="Of each replica: 1 with --provider cuda, else 0.")
    ] = None,
) -> None:
    """Answer requests for images over HTTP, until a signal."""
    from monge.server.drawing import Limits

    limits = Limits(images=max_images, queue_images=queue_images, timeout_s=timeout_s)
    how: dict[str, Any] = {
        "host": host, "port": port, "provider": provider.value, "limits": limits, "rate": rate,
        "token_file": token_file, "poll_s": poll_s, "batches": _sizes(batches),
    }  # fmt: skip
    if replicas is not None:
        from monge.server.cluster import serve as run_replicas
        from monge.server.replicas import Replicas

        gpus = float(provider is Provider.cuda) if replica_gpus is None else replica_gpus
        wanted = Replicas(
            least=replicas, most=max_replicas, requests=replica_requests or 32, gpus=gpus,
            threads=threads or 1,
        )  # fmt: skip
        run_replicas(model, wanted, **how)
        return
    if (max_replicas, replica_requests, replica_gpus) != (None, None, None):
        raise InputError("--max-replicas and --replica-... need --replicas: how many at least.")
    from monge.server.run import serve as run

    run(model, threads=threads, **how)


def _sizes(text: str | None) -> tuple[int, ...] | None:
    """Read batch sizes written as 1,16,64; whether they will do is the sampler's to say."""
    if text is None:
        return None
    sizes = [size.strip() for size in text.split(",")]
    if not all(size.isascii() and size.isdigit() and len(size) < 10 for size in sizes):
        raise InputError(f"--batches: whole numbers with commas, as 1,16,64, got {text[:40]!r}.")
    return tuple(map(int, sizes))
