"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh `mlflow.db` to copy: made once, because making one takes seconds."""
    from monge.tracking import mlflow_store

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        root = tmp_path_factory.mktemp("database")
        mlflow_store.connect(root)
    return root / "mlflow.db"


@pytest.fixture
def project(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with an empty tracking database, found without any setting."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MONGE_TRACKING"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "project"
    root.mkdir()
    shutil.copyfile(database, root / "mlflow.db")
    return root


@pytest.fixture
def _float64() -> Iterator[None]:
    """Double precision, in which two ways to the same number can be told from two numbers.

    The first steps of Adam and of RMSProp are lr * sign(gradient): float32 would flip tiny ones.
    """
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
