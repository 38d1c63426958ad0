"""Fixtures that more than one room uses."""

import os

import numpy as np
import pytest

from monge.data.writer import PackedWriter

# A checkout where `make up` was given: its servers are not for its tests.
os.environ["MONGE_SERVERS"] = "embedded"
# Threads of torch that wait for each other sleep: beside other tests, spinning takes their cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

pytest_plugins = ["tests.order", "tests.running", "tests.summary"]


@pytest.fixture(scope="session")
def packed_digits(tmp_path_factory):
    """The folder of a packed dataset: the 1,797 scanned digits, 8x8 grey, ten classes."""
    from sklearn.datasets import load_digits

    values, classes = load_digits(return_X_y=True)
    images = np.round(values * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = classes.astype(np.int64)
    folder = tmp_path_factory.mktemp("digits") / "prepared"
    with PackedWriter(folder, (1, 8, 8), [str(digit) for digit in range(10)]) as writer:
        writer.append("train", images[:1437], labels[:1437])
        writer.append("validation", images[1437:], labels[1437:])
        writer.finish()
    return folder
