"""Protects: a method or a net is known everywhere or nowhere, and nothing is taken for another."""

import pytest

from monge import nets, objectives
from monge.errors import InputError
from monge.objectives.gan import Gan
from monge.params import NET_SECTIONS, OBJECTIVE_SECTIONS, Params, TrainParams
from monge.params.pairs import impossible_pairs


def test_the_tables_name_the_same_methods_and_nets():
    assert objectives.METHODS.keys() == objectives.WATCHES.keys() == OBJECTIVE_SECTIONS.keys()
    assert nets.FAMILIES.keys() == NET_SECTIONS.keys()
    sections = {field.alias or name for name, field in TrainParams.model_fields.items()}
    assert {*NET_SECTIONS.values(), *OBJECTIVE_SECTIONS.values()} <= sections


@pytest.mark.parametrize("objective", OBJECTIVE_SECTIONS)
def test_a_method_names_its_own_section_and_a_rate_for_each_of_its_networks(objective):
    train = TrainParams(objective=objective)
    section = train.model_dump(by_alias=True)[OBJECTIVE_SECTIONS[objective]]
    rate = section["learning_rate"]
    assert objectives.watch_of(train).rate == f"train.{objective}.learning_rate ({rate:g})"
    built = objectives.build(train)
    wanted = dict.fromkeys(built.roles, rate)
    if "discriminator_learning_rate" in section:
        wanted["latent_discriminator"] = section["discriminator_learning_rate"]
    assert dict(built.rates) == wanted


@pytest.mark.parametrize("net", NET_SECTIONS)
def test_a_role_that_a_net_does_not_build_is_refused(net):
    roles = ", ".join(sorted(nets.FAMILIES[net]))
    with pytest.raises(InputError, match=f"{net} has no referee.* It has: {roles}\\. "):
        nets.build("referee", TrainParams(net=net), (1, 8, 8))


@pytest.mark.parametrize("section", ["mlp", "dcgan"])
def test_a_net_ties_no_batch_by_another_nets_section(section, monkeypatch):
    tied = {section: {"minibatch_kernels": 2}, "net": section}
    train = TrainParams.model_validate({"objective": "gan", **tied})
    assert not Gan(train, objectives.Execution()).one_pass
    refused = Params(train=train.model_copy(update={"objective": "rpgan"}))
    assert "minibatch_kernels" in impossible_pairs(refused)[0]
    monkeypatch.setitem(NET_SECTIONS, section, "guards")  # a section that knows of no such thing
    assert Gan(train, objectives.Execution()).one_pass
    assert impossible_pairs(refused) == []
