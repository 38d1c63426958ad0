"""The claims of Salimans et al. 2016."""

from tests.studies import claims


def test_the_claim_holds():
    claims.hold("improved_gan/techniques")
