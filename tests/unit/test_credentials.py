"""Protects: no password, token or key in anything that is told."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

import pytest

from monge.credentials import Formatter, bare, hidden, user_and_password
from monge.errors import ServiceError

BASIC = "YWxpY2U6czNjckB0LXB3"  # of alice:s3cr@t-pw


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://alice:s3cr%40t@h:5000/x failed", "http://***@h:5000/x failed"),
        ("'postgresql+psycopg2://u:pa/ss@db:5432/x'", "'postgresql+psycopg2://***@db:5432/x'"),
        ("ssh://git:pw@h/o/r.git", "ssh://***@h/o/r.git"),
        ("redis://:pw12@h:1/0", "redis://***@h:1/0"),
        ("http://u:p@ss@h/x and https://tok@h/y", "http://***@h/x and https://***@h/y"),
        ("http://u:8080pass@[::1]:5/x", "http://***@[::1]:5/x"),
        ("x?sslmode=require&password=abc&y=1", "x?sslmode=require&password=***&y=1"),
        ("?X-Amz-Signature=ab&X-Amz-Date=3", "?X-Amz-Signature=***&X-Amz-Date=3"),
        ("host=h password='a b' user=u", "host=h password=*** user=u"),
        ('{"aws_secret_access_key": "abc"}', '{"aws_secret_access_key": ***}'),
        (f"Authorization: Basic {BASIC}", "Authorization: Basic ***"),
        ("the key AKIAABCDEFGHIJKLMNOP is", "the key *** is"),
    ],
)
def test_credentials_are_hidden_in_any_words(text: str, told: str) -> None:
    assert hidden(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "http://h:5000/#/models/x@champion", "http://h:80/a@b", "models:/digits@champion",
        "see http://a/b, or me@x.org", "git@github.com:o/r.git", "train.token=3 monge.key=abc",
        "sqlite:////a/b.db?timeout=60", "6 tokens: 5 of them", "ssh://git@h/o/r.git",
    ],
)  # fmt: skip
def test_what_is_no_credential_stays(text: str) -> None:
    assert hidden(text) == text == bare(text)


def test_secrets_of_the_environment_are_hidden_in_whatever_form_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://alice:s3cr%40t-pw@h:5000")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "/wJalr+Utn")
    monkeypatch.setenv("SOME_TOKEN_FILE", "/run/secrets/token")
    told = hidden(f"s3cr@t-pw s3cr%40t-pw {BASIC} /wJalr+Utn %2FwJalr%2BUtn /run/secrets/token")
    assert told == "*** *** *** *** *** /run/secrets/token"
    assert str(ServiceError("it said s3cr@t-pw")) == "it said ***"


def test_an_address_is_kept_without_who_asks() -> None:
    assert bare("postgresql://u:p@h/db?sslmode=require&password=x") == (
        "postgresql://h/db?sslmode=require"
    )
    assert bare("http://u:p@h/p?token=abc") == "http://h/p"
    assert user_and_password("http://al%20ice:s3cr%40t:x@h") == ("al ice", "s3cr@t:x")
    assert user_and_password("http://h:5000/a@b") is None


def test_log_lines_and_tracebacks_hide_too() -> None:
    try:
        raise ValueError("http://u:hushhush@h")
    except ValueError:
        record = logging.LogRecord("x", 40, "", 0, "at %s", ("http://u:p@h",), sys.exc_info())
    told = Formatter("%(message)s").format(record)
    assert "hushhush" not in told
    assert told.startswith("at http://***@h\nTraceback")


def test_an_address_with_a_password_is_hidden_in_the_command_s_own_traceback() -> None:
    code = (
        "import sys; from monge.cli import main; from monge.serving import origin;"
        "origin.read = int; sys.argv[1:] = ['sample', 'http://u:hushhush@h/g.onnx']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "invalid literal for int()" in done.stderr
    assert "hushhush" not in done.stderr + done.stdout


def test_long_texts_cost_little() -> None:
    began_s = time.process_time()
    for text in ("x" * 100_000 + ":", "a.b=" * 25_000, "://" * 30_000, "http://" + "a:" * 50_000):
        hidden(text)
    assert time.process_time() - began_s < 5.0
