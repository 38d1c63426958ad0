"""A method is spoken of in its own words wherever a person reads of it, and in no other's."""

from __future__ import annotations

import collections
import re

import pytest
import typer.testing

from monge.cli.base import app
from monge.data.packed import PackedDataset
from monge.evaluation.card import card, comment
from monge.evaluation.page import page
from monge.objectives import METHODS, build, watch_of
from monge.params import OBJECTIVE_SECTIONS, TrainParams
from monge.training.context import Training
from monge.training.forecast import plan
from monge.training.forecast.timing import Timing
from monge.training.watch import diagnosis
from tests.facts import facts_of

WASSERSTEIN = {"critic", "wasserstein", "opponent"}
ENCODING = {"encoder", "latents", "reconstruction"}
OWN = {
    "wgan": WASSERSTEIN,
    "wgan-gp": WASSERSTEIN,
    "gan": {"discriminator", "jensen-shannon", "opponent"},
    "rpgan": {"critic", "relativistic", "opponent"},
    "vae": {*ENCODING, "posterior"},
    "wae-mmd": ENCODING,
    "wae-gan": {*ENCODING, "discriminator"},
}
"""The words of each method; those that are only others' are foreign to it."""

EVERYWHERE = {"latents"}
"""Words of some methods that the others' files and pages have a reason to use, too."""

ALL = set().union(*OWN.values()) | {"total variation"}


def foreign(method: str, text: str) -> set[str]:
    """The words of others, and their names, that a text about this method has."""
    lower = text.lower()
    words = {word for word in ALL - OWN[method] - EVERYWHERE if word in lower}
    return words | set(re.findall(r"[\w-]+", lower)) & METHODS.keys() - {method}


@pytest.fixture(params=METHODS)
def train(request: pytest.FixtureRequest) -> TrainParams:
    return TrainParams.model_validate(
        {"objective": request.param, "batch_size": 8, "latent_dim": 4, "device": "cpu",
         "mlp": {"depth": 1, "width": 8}, "wae-gan": {"discriminator_width": 8}}
    )  # fmt: skip


def test_a_dry_run_names_the_methods_own_networks(train, packed_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "timed", lambda *_: Timing(0.001, "one iteration timed"))
    training = Training(train, PackedDataset.open(packed_digits), tmp_path / "checkpoints")
    told = "\n".join(plan.describe(training, tmp_path / "lock"))
    assert all(role in told for role in build(train).roles)
    assert foreign(train.objective, told) == set()


def test_report_card_and_comment_speak_of_the_method_in_its_words(train):
    facts = facts_of(train.model_dump(by_alias=True))
    assert f"mlp, {train.objective}, step 1,000" in facts.training
    section = facts.contract.parameters[OBJECTIVE_SECTIONS[train.objective]]
    for role in ("critic", "discriminator"):
        steps = section.get(f"{role}_steps")
        assert (f"{role} step" in facts.training) == (steps is not None)
    without_parameters = re.sub(r"(?s)<details>.*?</details>", "", page(facts))
    for text in (without_parameters, card(facts), comment(facts)):
        assert train.objective in text
        assert foreign(train.objective, text) == set()


def test_the_headline_and_what_went_wrong_are_told_in_the_methods_words(train):
    """Remedies are left out: they may name another method to use, and keys of the network."""
    watch = watch_of(train)
    figures: dict[str, float] = collections.defaultdict(lambda: 1.0)
    troubles = [trouble.sentence for trouble in watch.troubles(figures, (1, 8, 8), 200)]
    assert troubles
    told = [watch.headline.label, watch.headline.name.replace("_", " "), watch.rate]
    told += [sentence.split("\n")[0] for sentence in troubles]
    told += [diagnosis.frozen_generator(watch, 200, gradient) for gradient in (0.0, 1.0)]
    told += [diagnosis.divergence(watch, None), diagnosis.collapse(watch, 0.0, 1.0).split("\n")[0]]
    assert foreign(train.objective, "\n".join(told)) == set()


def test_a_hinge_loss_has_the_name_of_its_own_estimate():
    hinge = TrainParams.model_validate({"objective": "gan", "gan": {"loss": "hinge"}})
    assert watch_of(hinge).headline.label == "total variation estimate (at most 1)"


@pytest.mark.parametrize("command", [[], ["train"]], ids=["monge", "monge train"])
def test_the_help_about_all_methods_has_no_ones_own_words(command):
    told = typer.testing.CliRunner().invoke(app, [*command, "--help"]).output.lower()
    assert "--help" in told
    others = {word for word in ALL - EVERYWHERE if word in told}
    assert others <= ({"encoder"} if not command else set())  # `monge encode` is about encoders
    assert not set(re.findall(r"[\w-]+", told)) & METHODS.keys()
