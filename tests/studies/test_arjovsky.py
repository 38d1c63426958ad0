"""The claims of Arjovsky and Bottou 2017."""

import pytest

from studies import catalogue
from tests.studies import claims


@pytest.mark.parametrize("name", [name for name in catalogue.NAMES if name.startswith("arjovsky/")])
def test_the_claim_holds(name):
    claims.hold(name)
