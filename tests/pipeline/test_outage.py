"""Protects: what waited for an absent tracking server arrives later, and no secret is told.

One chain for both: against a real MLflow server behind a proxy that asks for a password, which is
away at first.
"""

import getpass
import re
import sqlite3
from base64 import b64encode

import pytest

from tests.mlflow_server import Server
from tests.proxied import proxy

pytestmark = pytest.mark.timeout(1200)

# Each is looked for in everything that the chain left. Typed with its signs as codes in an address.
PASSWORD, TYPED = "hush/hush@42", "hush%2Fhush%4042"
TOKEN, KEY = "ghp-not-to-be-told", "aws/secret+not-to-be-told"
PREFECT, REMOTE = "monge:prefect-not-to-be-told", "remote-not-to-be-told"
HOOK, SIGNED, PROXY = "hook-not-to-be-told", "signed-not-to-be-told", "proxy-not-to-be-told"
SECRETS = (PASSWORD, TYPED, TOKEN, KEY, PREFECT, REMOTE, HOOK, SIGNED, PROXY)
# As they stand in a header: user and password together, in base64.
HEADERS = [b64encode(each.encode()).decode() for each in (
    f"alice:{PASSWORD}", PREFECT, f"carol:{HOOK}", f"dave:{PROXY}",
)]  # fmt: skip
REMOTE_SETTINGS = f"""
[core]
    remote = away
['remote "away"']
    url = http://127.0.0.1:9/dvc
    user = bob
    password = {REMOTE}
"""


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def test_what_waited_is_sent_by_the_next_run_which_repeats_no_stage_and_tells_no_password(
    project, tiny, server
):
    with proxy(server.address, f"alice:{PASSWORD}") as before:
        secrets = {
            "MLFLOW_TRACKING_URI": before.address.replace("//", f"//alice:{TYPED}@"),
            "AWS_SECRET_ACCESS_KEY": KEY,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # no waiting between MLflow's own tries
            "PREFECT_API_AUTH_STRING": PREFECT,
            "MONGE_WEBHOOK_URL": f"http://carol:{HOOK}@127.0.0.1:9/hook",  # where nobody listens
            "MONGE_WEBHOOK_SECRET": SIGNED,
            "HTTP_PROXY": f"http://dave:{PROXY}@127.0.0.1:9",
            "HTTPS_PROXY": f"http://dave:{PROXY}@127.0.0.1:9",
            "NO_PROXY": "127.0.0.1",
        }
        (project.folder / ".dvc" / "config.local").write_text(REMOTE_SETTINGS)
        origin = f"https://{TOKEN}@git.example/monge.git"
        project.run("git", "remote", "add", "origin", origin)
        before.answer = (503, "text/plain", b"back soon")
        away = project.retrain(*tiny, "promote.wait_s=1", check=False, **secrets)
        assert away.returncode == 3
        assert "promote ended with exit code 3" in away.stdout
        assert "waiting for the server, for 1 s at most" in away.stdout
        assert "this failure was not taken by 127.0.0.1: ConnectError" in away.stdout
        assert "the server or the proxy before it failed (503)" in away.stdout
        assert list((project.folder / ".monge/spool").iterdir())

        before.answer = None
        back = project.retrain(**secrets)
        shown = project.run("monge", "models", "--show", "1", **secrets)
        wrong = secrets | {"MLFLOW_TRACKING_URI": before.address.replace("//", f"//eve:{TYPED}1@")}
        refused = project.run("monge", "models", check=False, **wrong)
    for stage in ("prepare", "train", "export", "evaluate"):
        assert f"Stage '{stage}' didn't change, skipping" in back.stdout
    assert "none. Not promoted: frechet is not nearer" in back.stdout
    with sqlite3.connect(server.folder / "server.db") as database:
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)]
        names = {row[0] for row in database.execute("select distinct key from metrics")}
        ((run, user, ended_ms),) = database.execute("select name, user_id, end_time from runs")
        rate = "select value from params where key = 'train.wgan-gp.learning_rate'"
        assert [float(value) for (value,) in database.execute(rate)] == [0.001]
        ((last_ms,),) = database.execute("select max(timestamp) from metrics")
    assert re.fullmatch(r"tiny-wgan-gp-mlp-\w{6}", run)
    assert user == getpass.getuser()
    assert ended_ms - last_ms < 30_000  # and not when `promote` added its page
    assert {"wasserstein_estimate", "evaluate.frechet"} <= names
    assert not list((project.folder / ".monge/spool").iterdir())

    assert refused.returncode == 2
    assert f"{before.address} does not take this user and password (401)" in refused.stdout
    told = {"output": "".join(run.stdout for run in (away, back, shown, refused)).encode()}
    own = [project.folder / name for name in (".git/config", ".dvc/config.local")]
    for path in project.folder.parent.rglob("*"):
        if path.is_file() and path not in own:  # those in which a person has put them
            told[str(path)] = path.read_bytes()
    kept = [each.encode() for each in (*SECRETS, *HEADERS)]
    leaks = [name for name, data in told.items() for secret in kept if secret in data]
    assert leaks == []
    assert any(before.address.encode() in data for data in told.values())  # what was looked at
    assert any("server.db" in name for name in told)
