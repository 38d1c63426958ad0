"""Protects: under load the garbage collector does not hold up the service."""

from __future__ import annotations

import gc

from monge.server.run import _settle


def test_what_was_there_at_the_start_is_not_looked_through_again():
    gc.unfreeze()
    loaded = len(gc.get_objects())
    try:
        _settle()
        assert gc.get_freeze_count() > loaded / 2
        assert len(gc.get_objects()) < loaded / 10
    finally:
        gc.unfreeze()
