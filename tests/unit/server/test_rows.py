"""Rows of several requests become one batch of latents, each request's where it is."""

from __future__ import annotations

import numpy as np
import pytest

from monge.latents import latents
from monge.server.rows import Numbered, gathered

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
    batch = gathered([parts[i] for i in order], DIM)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, np.concatenate([expected[i] for i in order]))


def test_a_part_of_the_rows_is_those_images():
    rows = Numbered.of_seed(9, 100, 20, 1.0)
    parts = [rows[0:8], rows[8:16], rows[16:24]]
    assert [len(part) for part in parts] == [8, 8, 4]
    np.testing.assert_array_equal(gathered(parts, DIM), latents(9, 100, 20, DIM, 1.0))
