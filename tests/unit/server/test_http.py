"""The service over real HTTP: what it draws, what it refuses, and how it says so."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from monge.latents import latents, slerp
from monge.serving.sampler import Sampler
from tests.running import DIM


@pytest.fixture(scope="module")
def sampler(model):
    return Sampler.load(model, "cpu")


def array(answer: httpx.Response):
    assert answer.status_code == 200, answer.text
    shape = [int(size) for size in answer.headers["monge-shape"].split(",")]
    return np.frombuffer(answer.content, np.uint8).reshape(shape)


def test_samples_are_those_of_the_sampler_in_every_format(service, sampler):
    expected = sampler.sample(5, seed=7, first=2)
    body = {"n": 5, "seed": 7, "first": 2}
    assert np.array_equal(array(service.post("/v1/samples", format="raw", **body)), expected)
    npz = service.post("/v1/samples", format="npz", **body)
    assert np.array_equal(np.load(io.BytesIO(npz.content))["images"], expected)
    for form in ("png", "webp"):
        answer = service.post("/v1/samples", format=form, layout="zip", **body)
        assert answer.headers["content-type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.namelist() == [f"{i:05}.{form}" for i in range(5)]
            for i, name in enumerate(archive.namelist()):
                picture = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
                assert np.array_equal(np.asarray(picture), expected[i])
    grid = service.post("/v1/samples", columns=5, **body)
    assert grid.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(grid.content))
    assert picture.width > 4 * picture.height
    one = service.post("/v1/samples", seed=7, first=2)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(one.content))), expected[0])


def test_a_list_of_seeds_gives_image_0_of_each(service, sampler):
    got = array(service.post("/v1/samples", seeds=[9, 2**64 - 1, 9], format="raw"))
    for image, seed in zip(got, (9, 2**64 - 1, 9), strict=True):
        assert np.array_equal(image, sampler.sample(1, seed=seed)[0])


def test_truncation_is_the_samplers(service, sampler):
    got = array(service.post("/v1/samples", n=4, seed=1, truncation=0.5, format="raw"))
    assert np.array_equal(got, sampler.sample(4, seed=1, truncation=0.5))
    assert not np.array_equal(got, sampler.sample(4, seed=1))


def test_a_walk_has_both_its_ends(service, sampler):
    walk = array(
        service.post(
            "/v1/interpolations", start={"seed": 3, "index": 4}, end={"seed": 5}, steps=7,
            format="raw",
        )
    )  # fmt: skip
    assert walk.shape[0] == 7
    assert np.array_equal(walk[0], sampler.sample(1, seed=3, first=4)[0])
    assert np.array_equal(walk[-1], sampler.sample(1, seed=5)[0])
    middle = slerp(latents(3, 4, 1, DIM)[0], latents(5, 0, 1, DIM)[0], 0.5)
    assert np.array_equal(walk[3], sampler.run(middle[None])[0])


def test_every_answer_names_its_model(service, sampler):
    answer = service.post("/v1/samples")
    assert answer.headers["monge-model-hash"] == sampler.model_hash
    assert answer.headers["monge-provider"] == "cpu"
    assert re.fullmatch(r"draw;dur=[\d.]+, total;dur=[\d.]+", answer.headers["server-timing"])
    facts = service.client.get("/v1/model").json()
    assert facts["model_hash"] == sampler.model_hash
    assert facts["contract"]["image_shape"] == [16, 16, 3]


BAD = [
    ({"n": 0}, 422, "n: "),
    ({"n": "3"}, 422, "n: "),
    ({"n": 1.5}, 422, "n: "),
    ({"n": True}, 422, "n: "),
    ({"n": 1025}, 422, "1024 images"),
    ({"seed": -1}, 422, "seed: "),
    ({"seed": 2**64}, 422, "seed: "),
    ({"n": 2, "first": 2**64 - 1}, 422, "first + n"),
    ({"seeds": []}, 422, "seeds: "),
    ({"seeds": [1], "n": 1}, 422, "give seeds, or n"),
    ({"truncation": 0}, 422, "truncation: "),
    ({"truncation": "nan"}, 422, "truncation: "),
    ({"format": "gif"}, 422, "format: "),
    ({"format": "raw", "layout": "grid"}, 422, "takes no layout"),
    ({"columns": 0}, 422, "columns: "),
    ({"sed": 3}, 422, "sed: "),
]


@pytest.mark.parametrize(("body", "status", "said"), BAD, ids=[str(b[0]) for b in BAD])
def test_bad_input_is_one_line_of_json(service, body, status, said):
    _is_problem(service.client.post("/v1/samples", json=body), status, said)


def _is_problem(answer: httpx.Response, status: int, said: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert said in document["detail"]
    assert "\n" not in document["detail"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "body"), (b"{", "JSON"), (b"[]", ""), (b"\xff\xfe", ""), (b"[" * 100_000, "")],
)  # fmt: skip
def test_what_is_no_json_is_refused(service, content, said):
    answer = service.client.post(
        "/v1/samples", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    _is_problem(answer, answer.status_code, said)


def test_unknown_paths_and_methods_are_problems(service):
    _is_problem(service.client.get("/nowhere"), 404, "Not Found")
    _is_problem(service.client.get("/v1/samples"), 405, "Method Not Allowed")
    _is_problem(service.client.get("/page/../../../../etc/passwd"), 404, "")


def test_a_body_that_is_too_large_is_refused_before_it_is_read(service):
    _is_problem(service.client.post("/v1/samples", content=b" " * (9 << 20)), 413, "larger than")

    def parts():
        for _ in range(10):
            yield b" " * (1 << 20)

    for kind in ("application/json", "text/plain"):
        answer = service.client.post("/v1/samples", content=parts(), headers={"content-type": kind})
        _is_problem(answer, 413, "larger than")


def test_another_hosts_name_is_refused_on_loopback(service):
    for host in ("evil.example", "evil.example:80", "localhost.evil.example"):
        answer = service.client.get("/v1/model", headers={"host": host})
        _is_problem(answer, 421, "is not called")
    for host in ("localhost", "127.0.0.1:99", "[::1]:80"):
        assert service.client.get("/v1/model", headers={"host": host}).status_code == 200


def test_pages_of_other_sites_cannot_read_it(service):
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for answer in (
        service.client.options("/v1/samples", headers=asked),
        service.client.post("/v1/samples", json={}, headers=asked),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_the_figures_count_what_was_asked(service):
    before = _figure(service, 'monge_requests_total{route="/v1/samples",status="200"}')
    drawn = _figure(service, "monge_images_total")
    service.post("/v1/samples", n=70, format="raw")
    assert _figure(service, 'monge_requests_total{route="/v1/samples",status="200"}') == before + 1
    assert _figure(service, "monge_images_total") == drawn + 70
    assert _figure(service, "monge_queue_images") == 0
    text = service.client.get("/metrics").text
    assert re.search(r'monge_model\{name="generator",provider="cpu",sha256="\w{64}",', text)


def _figure(service, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", service.client.get("/metrics").text, re.M)
    return float(found[1]) if found else 0.0


def test_the_description_of_the_interface_is_whole(service):
    document = service.client.get("/openapi.json").json()
    assert {"/v1/samples", "/v1/interpolations", "/v2/models/{name}/infer", "/metrics"} <= set(
        document["paths"]
    )


def test_a_client_that_goes_away_costs_no_more_than_its_batch(serve, model):
    service = serve(model, "--max-images", 100_000, "--queue-images", 200_000)
    body = json.dumps({"n": 60_000, "format": "raw"}).encode()
    head = b"POST /v1/samples HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        while _figure(service, "monge_queue_images") == 0:
            time.sleep(0.01)
    patience_s = time.monotonic() + 120
    while _figure(service, "monge_queue_images") and time.monotonic() < patience_s:
        time.sleep(0.01)
    assert _figure(service, "monge_queue_images") == 0
    assert _figure(service, "monge_images_total") < 60_000
    assert _figure(service, 'monge_requests_total{route="/v1/samples",status="499"}') == 1


def test_a_full_queue_and_a_missed_deadline_say_when_to_come_back(serve, model):
    service = serve(
        model, "--max-images", 50_000, "--queue-images", 1000, "--timeout-s", 0.2, "--threads", 1
    )
    answers: list[httpx.Response] = []

    def ask() -> None:
        with httpx.Client(base_url=service.url, timeout=30) as client:
            answers.append(client.post("/v1/samples", json={"n": 50_000, "format": "raw"}))

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    full = [answer for answer in answers if answer.status_code == 429]
    late = [answer for answer in answers if answer.status_code == 504]
    assert full
    assert late
    assert len(full) + len(late) == 4
    for answer in full:
        _is_problem(answer, 429, "images wait already")
        assert int(answer.headers["retry-after"]) >= 1
    _is_problem(late[0], 504, "not drawn within 0.2 s")


def test_sigterm_answers_what_was_accepted_and_then_ends(serve, model):
    service = serve(model, "--max-images", 20_000, "--queue-images", 200_000)
    answers: list[int] = []

    def ask(seed: int) -> None:
        with httpx.Client(base_url=service.url, timeout=60) as client:
            body = {"n": 8000, "seed": seed, "format": "raw"}
            answers.append(client.post("/v1/samples", json=body).status_code)

    clients = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
    for client in clients:
        client.start()

    def accepted() -> float:
        return _figure(service, "monge_queue_images") + _figure(service, "monge_images_total")

    while accepted() < 6 * 8000:
        time.sleep(0.01)
    service.process.send_signal(signal.SIGTERM)
    for client in clients:
        client.join()
    assert answers == [200] * 6
    assert service.process.wait(120) == 0
    assert "Traceback" not in service.said()


def test_other_machines_need_a_token_and_health_needs_none(serve, model, tmp_path):
    token = "correct horse battery staple"
    (tmp_path / "token").write_text(token + "\n")
    service = serve(model, "--host", "0.0.0.0", "--token-file", tmp_path / "token")
    assert service.client.get("/v2/health/ready").status_code == 200
    for given in (None, "", token, f"Basic {token}", f"Bearer {token}x", "Bearer \xff"):
        headers = {} if given is None else {"authorization": given.encode("latin-1")}
        answer = service.client.post("/v1/samples", json={}, headers=headers)
        _is_problem(answer, 401, "a token is needed")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert service.client.get("/metrics", headers=headers).status_code == 401
    for scheme in ("Bearer", "bearer", "BEARER", "Bearer "):  # RFC 7235: it has no case
        right = {"authorization": f"{scheme} {token}"}
        assert service.client.post("/v1/samples", json={}, headers=right).status_code == 200
    assert token not in service.said()


def test_fixed_batches_draw_the_same_images(serve, model, sampler):
    service = serve(model, "--batches", "1,4,16")
    assert service.client.get("/v1/model").json()["batches"] == [1, 4, 16]
    for n in (1, 3, 20):
        answer = service.post("/v1/samples", n=n, seed=6, format="raw")
        assert np.array_equal(
            np.frombuffer(answer.content, np.uint8), sampler.sample(n, seed=6).ravel()
        )


def test_a_clients_rate_is_limited_and_only_a_trusted_proxy_says_who_asks(serve, model):
    service = serve(model, "--rate", 5, "--trusted-proxies", "127.0.0.2,10.0.0.0/8")
    statuses = [
        service.client.post("/v1/samples", json={}, headers={"x-forwarded-for": f"10.9.0.{i}"})
        for i in range(30)
    ]
    assert statuses[0].status_code == 200
    refused = [answer for answer in statuses if answer.status_code == 429]
    assert refused, "a client gave itself other addresses"
    assert int(refused[0].headers["retry-after"]) >= 1
    proxy = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=service.url, transport=proxy, timeout=30) as passed:
        for i in range(30):
            given = {"x-forwarded-for": f"1.1.1.1, 8.8.0.{i}"}
            assert passed.post("/v1/samples", json={}, headers=given).status_code == 200
        given = {"x-forwarded-for": "1.1.1.1, 8.8.0.99"}
        statuses = [passed.post("/v1/samples", json={}, headers=given) for _ in range(30)]
        assert 429 in {answer.status_code for answer in statuses}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{model}", "--host", "0.0.0.0"], "a token is needed"),
        (["{model}", "--token-file", "{tmp}/none"], "cannot be read"),
        (["{tmp}/none.onnx"], "no such file"),
        (["{tmp}/short", "--token-file", "{tmp}/short"], "at least 16 characters"),
        (["{model}", "--port", "{taken}"], "Choose another with --port"),
        (["models:/nothing@champion"], "there is no registry"),
        (["{model}", "--batches", "1,x"], "whole numbers with commas, as 1,16,64"),
        (["{model}", "--batches", "0"], "from 1 to 1024, got 0"),
        (["{model}", "--token-file", "{tmp}/umlauts"], "ASCII"),
        (["{model}", "--host", "nowhere.invalid"], "Give an address of this machine"),
        (["{model}", "--allowed-hosts", "https://gan.example.com/"], "names without scheme"),
        (["{model}", "--trusted-proxies", "proxy"], "addresses or networks"),
    ],
)
def test_what_cannot_be_served_is_one_line(model, tmp_path: Path, arguments, said):
    (tmp_path / "short").write_text("abc")
    (tmp_path / "umlauts").write_text("Schlüssel für alle Türen", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        names = {"model": model, "tmp": tmp_path, "taken": taken.getsockname()[1]}
        given = [argument.format(**names) for argument in arguments]
        done = subprocess.run(
            [sys.executable, "-m", "monge", "serve", *given],
            capture_output=True, text=True, timeout=300, cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.splitlines()[-1].startswith("monge: ")
    assert "Traceback" not in done.stderr


def test_whatever_its_own_description_allows_is_answered_as_described(service):
    """Cases made from openapi.json: right ones, wrong ones, and sequences of them."""
    done = subprocess.run(
        [
            Path(sys.executable).with_name("st"), "run", f"{service.url}/openapi.json",
            "--max-examples", "10", "--no-color", "--seed", "1", "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,"
            "response_schema_conformance",
        ],
        capture_output=True, text=True, timeout=600, cwd=service.log.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert "Traceback" not in service.said()
