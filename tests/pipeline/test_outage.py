"""Protects: what was logged while the tracking server was away arrives with the next run."""

import sqlite3

import pytest

pytestmark = pytest.mark.timeout(600)


def test_figures_that_waited_are_sent_by_the_next_run_which_repeats_no_stage(project, tiny):
    away = project.retrain(
        *tiny, check=False, MLFLOW_TRACKING_URI="http://127.0.0.1:9",
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",  # no waiting between MLflow's own tries
    )  # fmt: skip
    assert away.returncode == 3
    assert "promote ended with exit code 3" in away.stdout
    assert "it does not answer" in away.stdout
    assert list((project.folder / ".monge/spool").iterdir())

    back = project.retrain()
    for stage in ("prepare", "train", "export", "evaluate"):
        assert f"Stage '{stage}' didn't change, skipping" in back.stdout
    assert "none. Not promoted: frechet is not nearer" in back.stdout
    with sqlite3.connect(project.folder / "mlflow.db") as database:
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)]
        names = {row[0] for row in database.execute("select distinct key from metrics")}
    assert {"wasserstein_estimate", "evaluate.frechet"} <= names
    assert not list((project.folder / ".monge/spool").iterdir())
