"""Double precision, in which two ways to the same number can be told from two numbers."""

import pytest
import torch


@pytest.fixture
def _float64():
    """Adam's and RMSProp's first steps are lr * sign(gradient): float32 would flip tiny ones."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
