"""`monge serve`: its options, and the settings that they become."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from monge import signatures
from monge.cli.base import app
from monge.cli.sampling import Marks, Provider, Verify, Where
from monge.errors import InputError

Served = Annotated[
    str,
    typer.Argument(help="A .onnx file, an address, or models:/NAME@champion, which is followed."),
]
Host = Annotated[str, typer.Option(help="Anything but loopback needs a token.")]
Port = Annotated[int, typer.Option(min=0, max=65535)]
TokenFile = Annotated[Path | None, typer.Option(help="A file with the token; else MONGE_TOKEN.")]
AllowedHosts = Annotated[
    str,
    typer.Option(
        envvar="MONGE_ALLOWED_HOSTS",
        help="Names a proxy passes on, as gan.example.com,*.example.org; * is any.",
    ),
]
TrustedProxies = Annotated[
    str,
    typer.Option(
        envvar="MONGE_TRUSTED_PROXIES",
        help="Addresses whose X-Forwarded-For says who asks, for --rate; else it is ignored.",
    ),
]
RootPath = Annotated[
    str,
    typer.Option(
        envvar="MONGE_ROOT_PATH",
        help="A prefix, as /gan, that the proxy leaves in the path; none if it takes it off.",
    ),
]
Rate = Annotated[float, typer.Option(min=0, help="Requests a second of a client; 0: any.")]
MaxImages = Annotated[int, typer.Option(min=1, help="Most images that one request may ask for.")]
QueueImages = Annotated[int, typer.Option(min=1, help="Most images that may wait; beyond it: 429.")]
Timeout = Annotated[float, typer.Option(min=0.001, help="Longest that one request may take.")]
HeaderTimeout = Annotated[
    float | None,
    typer.Option(min=0.001, help="Time for a request's head: 10 s, or --timeout-s if less."),
]
BodyTimeout = Annotated[
    float | None,
    typer.Option(min=0.001, help="Time for its body, if slower than 64 KiB/s: --timeout-s."),
]
AnswerTimeout = Annotated[
    float | None,
    typer.Option(min=0.001, help="Time to take the answer, if slower than that: --timeout-s."),
]
MaxConnections = Annotated[
    int,
    typer.Option(min=1, help="Most of them; then idle ones are closed, or 503; see ulimit -n."),
]
Threads = Annotated[
    int, typer.Option(min=0, help="Threads of the network; 0: one a core, or one a replica.")
]
Batches = Annotated[
    str | None,
    typer.Option(help="Sizes to draw in, as 1,16,64: on a GPU, quicker for few and for many."),
]
Poll = Annotated[float, typer.Option(min=0.1, help="Seconds between looks at the alias.")]
LeastReplicas = Annotated[
    int | None,
    typer.Option(min=1, help="Number of processes, by Ray: here, or where RAY_ADDRESS says."),
]
MostReplicas = Annotated[
    int | None, typer.Option(min=1, help="Most processes, while requests wait.")
]
ReplicaRequests = Annotated[
    int | None, typer.Option(min=1, help="Requests in progress before one more replica starts: 32.")
]
ReplicaGpus = Annotated[
    float | None, typer.Option(min=0, help="GPUs of each replica: 1 with --provider cuda, else 0.")
]


@app.command()
def serve(
    model: Served,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token_file: TokenFile = None,
    allowed_hosts: AllowedHosts = "",
    trusted_proxies: TrustedProxies = "",
    root_path: RootPath = "",
    rate: Rate = 0,
    max_images: MaxImages = 1024,
    queue_images: QueueImages = 4096,
    timeout_s: Timeout = 30.0,
    header_timeout_s: HeaderTimeout = None,
    body_timeout_s: BodyTimeout = None,
    answer_timeout_s: AnswerTimeout = None,
    max_connections: MaxConnections = 1024,
    provider: Where = Provider.auto,
    threads: Threads = 0,
    batches: Batches = None,
    poll_s: Poll = 10,
    marks: Marks = True,
    replicas: LeastReplicas = None,
    max_replicas: MostReplicas = None,
    replica_requests: ReplicaRequests = None,
    replica_gpus: ReplicaGpus = None,
    verify: Verify = None,
) -> None:
    """Answer requests for images over HTTP, until a signal."""
    signatures.require(verify)
    from monge.server.service import Limits
    from monge.server.settings import Patience, Settings

    limits = Limits(images=max_images, queue_images=queue_images, timeout_s=timeout_s)
    patience = Patience(
        header_s=header_timeout_s or min(10.0, timeout_s), body_s=body_timeout_s or timeout_s,
        answer_s=answer_timeout_s or timeout_s, connections=max_connections,
    )  # fmt: skip
    settings = Settings(
        host=host, port=port, token_file=token_file, allowed_hosts=_listed(allowed_hosts),
        trusted_proxies=_listed(trusted_proxies), root_path=root_path, rate=rate, limits=limits,
        patience=patience, provider=provider.value, threads=threads, batches=_sizes(batches),
        poll_s=poll_s, marks=marks,
    )  # fmt: skip
    if replicas is not None:
        return _by_replicas(model, settings, replicas, max_replicas, replica_requests, replica_gpus)
    if (max_replicas, replica_requests, replica_gpus) != (None, None, None):
        raise InputError("--max-replicas and --replica-... need --replicas: how many at least.")
    from monge.server.run import serve as run

    return run(model, settings)


def _by_replicas(
    model: str,
    settings: Any,
    least: int,
    most: int | None,
    requests: int | None,
    gpus: float | None,
) -> None:
    """Let several processes serve, by Ray."""
    from monge.server.replicas.cluster import serve as run
    from monge.server.replicas.replica import Replicas

    wanted = Replicas(
        least=least, most=most, requests=requests or 32,
        gpus=float(settings.provider == "cuda") if gpus is None else gpus,
        threads=settings.threads or 1,
    )  # fmt: skip
    run(model, wanted, settings)


def _listed(text: str) -> tuple[str, ...]:
    """Read words with commas between them."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _sizes(text: str | None) -> tuple[int, ...] | None:
    """Read batch sizes written as 1,16,64; whether they will do is the sampler's to say."""
    if text is None:
        return None
    sizes = [size.strip() for size in text.split(",")]
    if not all(size.isascii() and size.isdigit() and len(size) < 10 for size in sizes):
        raise InputError(f"--batches: whole numbers with commas, as 1,16,64, got {text[:40]!r}.")
    return tuple(map(int, sizes))
