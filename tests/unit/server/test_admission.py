"""Names and addresses: which are this machine's, which are a proxy's, which are refused."""

from __future__ import annotations

import socket

import pytest

from monge.errors import InputError
from monge.server.middleware.admission import admission, listening
from monge.server.settings import Settings

LOCAL = ["127.0.0.1", "127.0.0.2", "127.1", "127.255.255.254", "localhost", "0x7f.1", "2130706433"]
LOCAL_IPV6 = ["::1", "[::1]", "0:0:0:0:0:0:0:1"]


@pytest.mark.parametrize("host", LOCAL + LOCAL_IPV6)
def test_loopback_in_any_spelling_needs_no_token_and_answers_to_its_own_name(host, monkeypatch):
    monkeypatch.delenv("MONGE_TOKEN", raising=False)
    try:
        taken = listening(host, 0)
    except InputError as error:
        pytest.skip(f"not known to this machine: {error}")
    with taken:
        where = taken.getsockname()[0]
        assert where.startswith("127.") or where == "::1"
    found = admission(Settings(host=host))
    assert found.hosts is not None
    name = f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
    for asked in (
        name,
        f"{name}:8000",
        name.upper(),
        f"{name}.:80",
        "localhost",
        "ip6-localhost:1",
    ):
        assert found.admits(asked), asked
    for asked in ("", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "1.1"):
        assert not found.admits(asked), asked


def test_a_name_is_local_where_all_that_it_leads_to_is(monkeypatch):
    """A stand-in for /etc/hosts, in which not every machine has these names."""
    monkeypatch.delenv("MONGE_TOKEN", raising=False)
    known = {"ip6-localhost": ["::1"], "box": ["127.0.1.1", "::1"], "both": ["::1", "10.0.0.5"]}

    def found(host, port, **_):
        kinds = {True: socket.AF_INET6, False: socket.AF_INET}
        return [
            (kinds[":" in where], socket.SOCK_STREAM, 6, "", (where, port)) for where in known[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    for host in ("ip6-localhost", "box"):
        assert admission(Settings(host=host)).admits(f"{host}:8000"), host
    with pytest.raises(InputError, match="both can be reached from other machines"):
        admission(Settings(host="both"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "8.8.8.8", "0", "::ffff:8.8.8.8"])
def test_what_others_can_reach_needs_a_token(host, monkeypatch):
    monkeypatch.delenv("MONGE_TOKEN", raising=False)
    with pytest.raises(InputError, match="a token is needed"):
        admission(Settings(host=host))
    monkeypatch.setenv("MONGE_TOKEN", "0123456789abcdef")
    assert admission(Settings(host=host)).admits("whatever.example")


def test_allowed_hosts_are_names_with_a_star_for_what_stands_before_a_dot(monkeypatch):
    monkeypatch.setenv("MONGE_TOKEN", "0123456789abcdef")
    named = ("gan.Example.com", "*.example.org", "10.0.0.5", "[fe80::1]")
    for host in ("127.0.0.1", "0.0.0.0"):
        found = admission(Settings(host=host, allowed_hosts=named))
        for asked in (
            "gan.example.com", "GAN.example.com:443", "gan.example.com.", "a.example.org",
            "a.b.example.org:8443", "10.0.0.5", "[fe80::1]:80", "127.0.0.1:8000",
        ):  # fmt: skip
            assert found.admits(asked), asked
        for asked in ("example.org", "evilexample.org", "gan.example.com.evil", "", "10.0.0.6"):
            assert not found.admits(asked), asked
    assert admission(Settings(allowed_hosts=("*",))).admits("evil.example")


@pytest.mark.parametrize("wrong", ["https://a.example", "a.example:80", "a/b", "*a.example", "a b"])
def test_what_is_no_name_is_refused(wrong):
    with pytest.raises(InputError, match="--allowed-hosts"):
        admission(Settings(allowed_hosts=(wrong,)))


def test_a_token_file_of_another_editor_is_read(tmp_path):
    place = tmp_path / "token"
    place.write_bytes(b"\xef\xbb\xbf0123456789 abcdef\r\n")
    assert admission(Settings(token_file=place)).token == "0123456789 abcdef"
