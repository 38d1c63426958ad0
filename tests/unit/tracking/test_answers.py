"""Protects: each way in which a server or its store fails is told as what it is, with its remedy.

Real requests of MLflow's own client to small servers that answer wrongly.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monge.errors import InputError, MissingExtra, MongeError, ServerAway
from monge.registry.names import known_names
from monge.tracking.answers import answering, explained
from tests.proxied import Proxy, proxy


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], MongeError]:
    """What a user is told who asks the registry at an address."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")

    def asked(where: str) -> MongeError:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", where)
        with pytest.raises(MongeError) as told:
            known_names(tmp_path)
        assert "\n" not in str(told.value)
        return told.value

    return asked


@pytest.fixture
def server() -> Iterator[Proxy]:
    with proxy() as one:
        yield one


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, 2, "does not take this user and password (401). Set MLFLOW_TRACKING_USERNAME"),
        (403, 2, "does not allow this user to do that (403)"),
        (404, 2, "answers with 404, not as MLflow does: another server, or a wrong path"),
        (413, 2, "Raise its limit (nginx: client_max_body_size 0;)"),
        (400, 2, "write https:// where it speaks TLS"),
        (429, 3, "asks for fewer requests"),
        (500, 3, "the server failed (500). Look into its log"),
        (502, 3, "the server or the proxy before it failed (502)"),
    ],
)
def test_a_status_is_told_as_what_it_is(
    server: Proxy, ask: Callable[[str], MongeError], status: int, code: int, said: str
) -> None:
    server.answer = (status, "text/html", b"<html>no</html>")
    error = ask(server.address)
    assert said in str(error)
    assert str(error).startswith(server.address)
    assert error.exit_code == code


def test_a_page_is_not_an_answer(server: Proxy, ask: Callable[[str], MongeError]) -> None:
    server.answer = (200, "text/html", b"<html>welcome</html>")
    error = ask(f"{server.address}/wrong")
    assert f"{server.address}/wrong answers with a page, not as MLflow does" in str(error)
    assert error.exit_code == 2


def test_tls_where_there_is_none_names_the_scheme(
    server: Proxy, ask: Callable[[str], MongeError]
) -> None:
    error = ask(server.address.replace("http:", "https:"))
    assert "does not speak TLS there. Write http://" in str(error)
    assert error.exit_code == 2


def test_who_is_not_there_is_away_and_who_has_no_name_is_misspelt(
    ask: Callable[[str], MongeError], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = ask("http://127.0.0.1:9")
    assert isinstance(refused, ServerAway)
    assert "nothing listens there. Start or check it" in str(refused)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        late = ask(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert isinstance(late, ServerAway)
    assert "does not answer in time" in str(late)

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = ask("http://mlflwo.example:5000")
    assert "has a host name that cannot be found. Check its spelling" in str(error)
    assert error.exit_code == 2


def test_a_database_server_is_asked_once(ask: Callable[[str], MongeError]) -> None:
    error = ask("postgresql://u:hushhush@127.0.0.1:9/db")
    assert isinstance(error, ServerAway)
    assert "postgresql://127.0.0.1:9/db does not answer: nothing listens there" in str(error)


@pytest.mark.parametrize(
    ("status", "code", "kind", "said"),
    [
        (403, "SignatureDoesNotMatch", InputError, "refuses the key. Check AWS_ACCESS_KEY_ID"),
        (403, "InvalidAccessKeyId", InputError, "refuses the key. Check AWS_ACCESS_KEY_ID"),
        (403, "AccessDenied", InputError, "does not allow that with this key"),
        (404, "NoSuchBucket", InputError, "no such bucket"),
        (0, "", ServerAway, "its store of files does not answer"),
    ],
)
def test_a_store_of_files_is_told_from_the_server(
    server: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    status: int, code: str, kind: type[MongeError], said: str,
) -> None:  # fmt: skip
    """A real upload of MLflow's to S3, which answers in S3's own words, or is not there."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    settings = {
        "MLFLOW_S3_ENDPOINT_URL": server.address if status else "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "hushhush",
        "AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    body = f"<Error><Code>{code}</Code><Message>No.</Message></Error>"
    server.answer = (status, "application/xml", body.encode())
    (tmp_path / "file").write_text("x")
    with pytest.raises(kind) as told, answering(tmp_path):
        get_artifact_repository("s3://bucket/a").log_artifact(str(tmp_path / "file"))
    assert said in str(told.value)
    assert "hush" not in str(told.value)


def test_what_is_missing_or_not_theirs_is_told_apart(tmp_path: Path) -> None:
    told = explained(ModuleNotFoundError("No module named 'boto3'", name="boto3"), tmp_path)
    assert isinstance(told, MissingExtra)
    assert "monge[servers]" in str(told)
    assert explained(ValueError("a bug of ours"), tmp_path) is None
