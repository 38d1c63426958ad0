"""The claims of Tolstikhin et al. 2018."""

import pytest

from studies import catalogue
from tests.studies import claims


@pytest.mark.parametrize("name", [name for name in catalogue.NAMES if name.startswith("wae/")])
def test_the_claim_holds(name):
    claims.hold(name)
