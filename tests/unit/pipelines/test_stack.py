"""Protects: no stranger's process is taken for a server of ours, no secret is readable, no port."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from monge import servers
from monge.errors import InputError, ServiceError
from pipelines.stack import keeper, passwords, ports, postgres, process, status, supervisor, table
from pipelines.stack.settings import Place, Settings, chosen, keep, kept


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.make()
    (tmp_path / "params.yaml").write_text("promote:\n  name: faces\n")
    return place


def sleeper(place, name="store", fingerprint="x", words=("import time; time.sleep(60)",)):
    return process.start(
        place.state, name, fingerprint, [sys.executable, "-c", *words], place.checkout,
        os.environ, place.logs / f"{name}.log", None,
    )  # fmt: skip


def test_a_process_is_known_until_it_ends_and_its_number_alone_is_nobody(place):
    running = sleeper(place)
    try:
        assert process.known(place.state, "store") == running
        file = place.state / "run" / "store.json"
        # As after a kill, when another program has come to the number since.
        file.write_text(json.dumps({**json.loads(file.read_text()), "started": "boot:1"}))
        assert process.known(place.state, "store") is None
        process.end(place.state, "other", signal.SIGTERM, 1.0)
        assert running.alive
        file.write_text("{")
        assert process.known(place.state, "store") is None
    finally:
        process.sweep(place.state, "store")
    assert not running.alive


def test_what_a_killed_server_leaves_behind_is_ended_too(place):
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time;time.sleep(60)'], start_new_session=True)"  # noqa: E501
    running = sleeper(place, words=(child,))
    deadline = time.monotonic() + 30
    while len(list(process.left(place.state, "store"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    process.end(place.state, "store", signal.SIGTERM, 5.0)
    assert list(process.left(place.state, "store")) == []


def test_secrets_are_made_once_for_their_owner_alone(place, monkeypatch):
    first = passwords.load(place.state)
    assert passwords.load(place.state) == first
    assert (place.state / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert first.database not in repr(first)
    monkeypatch.setenv("MONGE_UP_DATABASE_PASSWORD", "a-new-password-1")
    assert passwords.load(place.state) == first, "who asks for the status changes nothing"
    second = passwords.load(place.state, os.environ)
    assert second == replace(first, database="a-new-password-1")
    monkeypatch.setenv("MONGE_UP_DATABASE_PASSWORD", "short")
    with pytest.raises(InputError, match="at least 12"):
        passwords.load(place.state, os.environ)
    assert passwords.load(place.state) == second


def test_settings_are_kept_and_two_servers_never_share_a_port(place, monkeypatch):
    assert chosen(place, {}) == Settings()
    keep(place, chosen(place, {"mlflow_port": "5001"}))
    monkeypatch.setenv("MONGE_UP_PREFECT_PORT", "4201")
    assert chosen(place, {}) == Settings(mlflow_port=5001, prefect_port=4201)
    assert kept(place).prefect_port == 4200
    with pytest.raises(InputError, match="--mlflow-port and --s3-port both take port 18333"):
        chosen(place, {"mlflow_port": "18333"})
    for wrong in ("0", "-1", "http"):
        with pytest.raises(InputError, match="--mlflow-port"):
            chosen(place, {"mlflow_port": wrong})


def test_a_port_that_is_taken_is_named_with_who_has_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = Settings(mlflow_port=port)
        with pytest.raises(ServiceError) as refused:
            ports.require(settings, {port: "MLflow"})
    assert f"port {port} for MLflow is taken by " in str(refused.value)
    assert f"(process {os.getpid()}, user " in str(refused.value)
    assert 'make up UP="--mlflow-port N"' in str(refused.value)
    ports.require(settings, {port: "MLflow"})


def test_a_setting_changes_what_depends_on_it_and_nothing_else(place, monkeypatch):
    monkeypatch.setattr(postgres, "has_trigrams", lambda _: True)
    secret = passwords.load(place.state)
    before = table.table(place, Settings(), secret)

    def changed(settings, secret):
        after = table.table(place, settings, secret)
        return {n for n, row in after.items() if row.fingerprint != before[n].fingerprint}

    assert changed(Settings(), secret) == set()
    assert changed(Settings(service_port=8001), secret) == {"service"}
    assert changed(Settings(mlflow_port=5001), secret) == {"mlflow", "worker", "service"}
    # PostgreSQL as well, for its role is given the password when it starts.
    databases = {"postgres", "mlflow", "prefect"}
    assert changed(Settings(), replace(secret, database="another")) == databases
    assert changed(Settings(), replace(secret, store="another")) == {"store", "mlflow"}
    assert changed(Settings(), replace(secret, prefect="another")) == {"prefect", "worker"}
    # Those of the supervisor's shell and of today's: waiting for them to agree would never end.
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/elsewhere")
    assert changed(Settings(), secret) == set()
    groups = [[row.name for row in group] for group in supervisor.in_order(before.values())]
    assert groups == [["postgres", "store"], ["mlflow", "prefect"], ["worker", "service"]]
    for row in before.values():
        words = " ".join(row.command)
        assert not any(each in words for each in vars(secret).values())
    assert "models:/faces@champion" in before["service"].command


def test_the_worker_shares_no_temporary_folder_with_other_users(place):
    worker = table.table(place, Settings(), passwords.load(place.state))["worker"]
    worker.prepare()
    code = "import tempfile; print(tempfile.gettempdir())"
    said = subprocess.check_output([sys.executable, "-c", code], env=worker.whole_environment())
    assert Path(said.decode().strip()).is_relative_to(place.state)


def test_prefect_has_a_file_where_postgres_lacks_its_extension_and_stays_with_it(
    place, tmp_path, monkeypatch
):
    secret, made = passwords.load(place.state), {}
    for name, control in (("whole", True), ("bare", False)):
        programs = tmp_path / name / "bin"
        programs.mkdir(parents=True)
        (programs.parent / "extension").mkdir()
        if control:
            (programs.parent / "extension" / "pg_trgm.control").touch()
        (programs / "initdb").write_text(f"#!/bin/sh\necho share_path={programs.parent} >&2\n")
        (programs / "initdb").chmod(0o755)
        made[name] = programs
    monkeypatch.setattr(postgres, "user", lambda: None)

    def address(name):
        monkeypatch.setattr(postgres, "programs", lambda _: made[name])
        prefect = table.table(place, Settings(), secret)["prefect"]
        return prefect.environment["PREFECT_API_DATABASE_CONNECTION_URL"]

    assert address("whole").startswith("postgresql+asyncpg://")
    file = place.state / "prefect" / "prefect.db"
    assert address("bare") == f"sqlite+aiosqlite:///{file}"
    file.parent.mkdir()
    file.touch()  # what was begun in a file is not left there when another PostgreSQL comes
    assert address("whole") == f"sqlite+aiosqlite:///{file}"


def test_a_pid_file_of_postgres_goes_only_when_it_is_another_program_s(tmp_path):
    file = tmp_path / "postmaster.pid"
    file.write_text(f"{os.getpid()}\n{tmp_path}\n")
    postgres._unlock(tmp_path)
    assert not file.exists()
    words = [str(tmp_path / "postgres"), "-c", "read line", "-D", str(tmp_path)]
    with subprocess.Popen(words, executable="/bin/sh", stdin=subprocess.PIPE) as running:
        file.write_text(f"{running.pid}\n{tmp_path}\n")
        while not Path(f"/proc/{running.pid}/cmdline").read_bytes():  # in the middle of exec(2)
            time.sleep(0.01)
        postgres._unlock(tmp_path)
        assert file.exists()
        running.kill()


def test_a_log_is_bounded_and_its_writer_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "LOG_BYTES", 100)
    path = tmp_path / "a.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"x" * 150 + b"end")
        keeper.bound(path)
        writer.write(b"more")
    assert path.read_bytes() == b"more"
    assert path.with_name("a.log.1").read_bytes() == b"x" * 97 + b"end"


def test_clients_use_the_servers_unless_the_environment_names_others(tmp_path, monkeypatch):
    (tmp_path / ".monge").mkdir()
    (tmp_path / servers.FILE).write_text(
        "# written\nMLFLOW_TRACKING_URI=http://127.0.0.1:9\nPREFECT_API_URL=http://127.0.0.1:9/api\n"
        "PREFECT_API_AUTH_STRING=monge:secret\n"
    )
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_AUTH_STRING"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_API_URL", "http://mine:4200/api")
    assert servers.use(tmp_path) == ""  # as in the tests
    monkeypatch.delenv("MONGE_SERVERS")
    said = servers.use(tmp_path)
    assert said.startswith("servers of `make up`: MLflow http://127.0.0.1:9. No answer from MLflow")
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9"
    assert os.environ["PREFECT_API_URL"] == "http://mine:4200/api"
    assert "PREFECT_API_AUTH_STRING" not in os.environ, "our password is not another server's"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def test_the_status_is_one_screen_whatever_there_is_to_tell(tmp_path):
    server = {
        "title": "PostgreSQL", "state": "starting", "for_s": 360_000, "restarts": 999,
        "disk_bytes": 999_000_000, "address": "http://127.0.0.1:65535", "told": "word " * 40,
    }  # fmt: skip
    facts = {
        "servers": [server] * 6, "supervisor": 4_194_304, "checkout": "/folder" * 20,
        "logs": "/folder" * 20, "champion": "a-long-name-" * 10, "next": ["retrain " * 20] * 3,
        "at_work": ["retrain " * 20] * 3,
    }  # fmt: skip
    lines = status.screen(facts)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24


def test_the_screen_before_the_first_start_says_what_to_do(tmp_path):
    assert status.screen(status.gather(Place(tmp_path))) == [
        "no servers were started here yet: `make up` starts them"
    ]
