"""What the command's options become in Ray Serve's words, and what Ray's proxy says in ours."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from monge.errors import InputError
from monge.server.app import build
from monge.server.models import open_model
from monge.server.problems import problem
from monge.server.replicas.ray_proxy import Proxied
from monge.server.replicas.replica import LabelledRegistry, ReplicaHeader, Replicas, options
from monge.server.run import DRAIN_S
from monge.server.service import Limits

OF_RAY = pytest.mark.filterwarnings("ignore:Using extra keyword arguments:DeprecationWarning")


@OF_RAY
def test_options_are_taken_by_ray_serve_and_a_replica_refuses_before_ray_does():
    from ray import serve

    limits = Limits(queue_images=500)
    said = options(Replicas(least=3, gpus=0.5, threads=4), limits, {})
    made = serve.deployment(**said)(object)
    assert made.num_replicas == 3
    assert made.max_ongoing_requests > limits.queue_images, "each waiting request has an image"
    assert made.max_queued_requests == limits.queue_images
    assert made.ray_actor_options == {"num_cpus": 4, "num_gpus": 0.5}
    config = made._deployment_config
    assert config.graceful_shutdown_timeout_s == DRAIN_S
    assert config.backpressure_config.status_code == 429
    assert config.autoscaling_config is None


@OF_RAY
def test_more_replicas_come_with_more_requests_in_progress():
    from ray import serve

    made = serve.deployment(**options(Replicas(least=1, most=4, requests=8), Limits(), {}))(object)
    scaling = made._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 4)
    assert scaling.get_target_ongoing_requests() == 8


def test_what_the_registry_is_called_goes_along_to_a_cluster():
    said = options(Replicas(), Limits(), {"MLFLOW_TRACKING_URI": "http://registry"})
    carried = said["ray_actor_options"]["runtime_env"]
    assert carried == {"env_vars": {"MLFLOW_TRACKING_URI": "http://registry"}}


@pytest.mark.parametrize("form", ["raw", "png", "npz"])
def test_what_a_replica_answers_can_go_to_rays_proxy(model, form):
    """Ray pickles each message on its way."""
    first = open_model(str(model), "cpu", 1)
    app, sent = build(first), list[Any]()
    body = b'{"n": 3, "format": "%s"}' % form.encode()

    async def ask():
        answered = asyncio.Event()

        async def receive():
            if sent:
                await answered.wait()
            return {"type": "http.request", "body": body}

        async def send(message):
            sent.append(pickle.loads(pickle.dumps(message)))

        scope = {
            "type": "http", "method": "POST", "path": "/v1/samples", "raw_path": b"/v1/samples",
            "query_string": b"", "headers": [(b"content-type", b"application/json")],
        }  # fmt: skip
        async with app.router.lifespan_context(app):
            while not app.state.service.ready:
                await asyncio.sleep(0.01)
            await ReplicaHeader(app, "replica")(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 200
    got = b"".join(message.get("body", b"") for message in sent[1:])
    if form == "raw":
        assert got == first.sampler.sample(3).tobytes()
    assert len(got) == int(dict(sent[0]["headers"])[b"content-length"])


def test_fewer_at_most_than_at_least_is_refused():
    with pytest.raises(InputError, match="--max-replicas 1 is less than --replicas 2"):
        Replicas(least=2, most=1)


@pytest.mark.parametrize(
    ("prelude", "arguments", "code", "said"),
    [
        ("sys.modules['ray'] = None", ["--replicas", "2", "--port", "0"], 3,
         "--replicas needs Ray (no module ray.serve): pip install 'monge[ray]'."),
        ("", ["--max-replicas", "2"], 2, "need --replicas"),
        ("", ["--replicas", "2", "--max-replicas", "1"], 2, "less than --replicas 2"),
        ("", ["--replicas", "2", "--host", "0.0.0.0"], 2, "so a token is needed"),
        ("os.environ['RAY_ADDRESS'] = '127.0.0.1:1'", ["--replicas", "2"], 2,
         "RAY_ADDRESS is set, and a cluster's machines can be asked by others"),
    ],
)  # fmt: skip
def test_what_cannot_start_is_one_line_before_ray_starts(model, prelude, arguments, code, said):
    line = ["monge", "serve", str(model), *arguments]
    program = (
        f"import sys, os; os.environ.pop('MONGE_TOKEN', None); {prelude or 'pass'}\n"
        f"sys.argv = {line}\nfrom monge.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    (told,) = [text for text in done.stderr.splitlines() if text.startswith("monge: ")]
    assert said in told
    assert "Traceback" not in done.stderr


async def dies(scope, receive, send):
    """As Ray's proxy does when the replica is gone: no answer at all."""


async def dies_on_the_way(scope, receive, send):
    """As when the replica is gone between the head of its answer and the body."""
    headers = [(b"content-type", b"image/png"), (b"content-length", b"6")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


def answers(status: int, kind: str, body: bytes = b"of Ray"):
    async def app(scope, receive, send):
        headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def ask(app, path: str = "/v1/samples") -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        return await client.get(f"http://127.0.0.1{path}")


@pytest.mark.parametrize(
    ("app", "status", "said"),
    [
        (dies, 503, "the replica that drew this is gone"),
        (dies_on_the_way, 503, "the replica that drew this is gone"),
        (answers(500, "text/plain"), 503, "the replica that drew this is gone"),
        (answers(503, "text/plain"), 503, "no replica is there"),
        (answers(404, "text/plain"), 503, "no replica is there"),
        (answers(429, "text/plain"), 429, "too many requests wait"),
    ],
)
def test_what_ray_says_itself_is_a_problem_that_says_to_ask_again(app, status, said):
    answer = asyncio.run(ask(Proxied(app)))
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "1"
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("app", "path"),
    [
        (answers(200, "image/png"), "/v1/samples"),
        (problem(404, "no such page"), "/nowhere"),
        (problem(429, "full", {"Retry-After": "7"}), "/v1/samples"),
        (answers(503, "text/plain"), "/-/healthz"),
    ],
)
def test_what_a_replica_says_goes_through_as_it_is(app, path):
    plain, through = asyncio.run(ask(app, path)), asyncio.run(ask(Proxied(app), path))
    assert through.status_code == plain.status_code
    assert through.content == plain.content
    assert through.headers == plain.headers


def test_an_answer_names_its_replica():
    answer = asyncio.run(ask(ReplicaHeader(answers(200, "image/png"), "a1b2")))
    assert answer.headers["monge-replica"] == "a1b2"


def test_figures_keep_their_labels_and_get_the_replicas():
    inner = CollectorRegistry()
    Counter("asked", "Asked.", ["route"], registry=inner).labels("/").inc(3)
    Histogram("took", "Took.", registry=inner, buckets=(1.0,)).observe(0.5)
    text = generate_latest(LabelledRegistry(inner, replica="a1b2")).decode()
    assert 'asked_total{replica="a1b2",route="/"} 3.0' in text
    assert 'took_bucket{le="1.0",replica="a1b2"} 1.0' in text
    assert "replica" not in generate_latest(inner).decode()


def test_settings_can_travel_to_a_replica_by_value():
    import pickle

    from monge.server.middleware.admission import Admission
    from monge.server.replicas.replica import ReplicaSettings

    settings = ReplicaSettings(
        model="models:/faces@champion", provider="cpu", threads=1, limits=Limits(), poll_s=1.0,
        admission=Admission(hosts=("localhost",)),
    )  # fmt: skip
    assert asdict(pickle.loads(pickle.dumps(settings))) == asdict(settings)
