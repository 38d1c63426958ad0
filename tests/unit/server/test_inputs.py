"""Rows of several requests become one batch of latents, each request's where it is."""

from __future__ import annotations

import numpy as np
import pytest

from monge.contract import Contract
from monge.labels import drawn
from monge.latents import latents
from monge.server.batching.inputs import Numbered, Rows, gathered

DIM = 10
BROUGHT = np.arange(2 * DIM, dtype=np.float32).reshape(2, DIM)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (3,), (0, 2)])
def test_what_is_numbered_and_what_was_brought_keep_their_places(order):
    parts = [
        Numbered.of_seed(7, 2**64 - 5, 5, None),
        Numbered.of_seeds([2**64 - 1, 0], 0.5),
        Numbered.of_seed(7, 3, 1, 2.0),
        BROUGHT,
    ]
    expected = [
        latents(7, 2**64 - 5, 5, DIM),
        np.concatenate([latents(2**64 - 1, 0, 1, DIM, 0.5), latents(0, 0, 1, DIM, 0.5)]),
        latents(7, 3, 1, DIM, 2.0),
        BROUGHT,
    ]
    batch, labels = gathered([Rows(parts[i]) for i in order], DIM)
    assert labels is None
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, np.concatenate([expected[i] for i in order]))


def test_a_part_of_the_rows_is_those_images():
    rows = Rows(Numbered.of_seed(9, 100, 20, 1.0), np.arange(20))
    parts = [rows[0:8], rows[8:16], rows[16:24]]
    assert [len(part) for part in parts] == [8, 8, 4]
    batch, labels = gathered(parts, DIM)
    np.testing.assert_array_equal(batch, latents(9, 100, 20, DIM, 1.0))
    assert labels is not None
    assert labels.tolist() == list(range(20))


def test_labels_that_nobody_wants_are_those_of_seed_and_index():
    contract = Contract(
        latent_dim=DIM, image_shape=(8, 8, 1), classes=("a", "b"), label_shares=(0.4, 0.6)
    )
    first, image_0 = (
        Numbered.of_seed(9, 2**32 - 3, 7, None),
        Numbered.of_seeds([5, 2**64 - 1], None),
    )
    labels = first.labels(None, contract)
    assert labels is not None
    assert labels.tolist() == drawn(9, 2**32 - 3, 7, (0.4, 0.6)).tolist()
    labels = image_0.labels(None, contract)
    assert labels is not None
    assert labels.tolist() == [int(drawn(s, 0, 1, (0.4, 0.6))[0]) for s in (5, 2**64 - 1)]
    assert image_0.labels("b", contract).tolist() == [1, 1]  # type: ignore[union-attr]
    without = Contract(latent_dim=DIM, image_shape=(8, 8, 1))
    assert first.labels(None, without) is None
