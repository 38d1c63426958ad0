"""Protects: minibatch discrimination is Salimans et al.'s, image by image."""

import math

import pytest
import torch

from monge import nets
from monge.errors import ParamsError
from monge.nets import dcgan, mlp
from monge.nets.minibatch import ROW, MinibatchDiscrimination
from monge.params import TrainParams, load


def test_each_image_gets_its_closeness_to_the_others():
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(6, 3).double()
    features = torch.randn(5, 6, dtype=torch.float64)
    found = layer(features).detach()
    assert torch.equal(found[:, :6], features)
    matrix = layer.rows.weight.detach().view(3, ROW, 6)
    for i in range(5):
        for b in range(3):
            rows = [matrix[b] @ image for image in features]
            others = [float((rows[i] - rows[j]).abs().sum()) for j in range(5) if j != i]
            wanted = sum(math.exp(-apart) for apart in others)
            assert float(found[i, 6 + b]) == pytest.approx(wanted, rel=1e-12)


def test_equal_images_are_as_close_as_can_be():
    layer = MinibatchDiscrimination(6, 2)
    found = layer(torch.ones(4, 6))
    torch.testing.assert_close(found[:, 6:], torch.full((4, 2), 3.0))


@pytest.mark.parametrize("net", ["mlp", "dcgan"])
def test_a_score_rests_on_the_batch_only_where_it_is_asked_for(net):
    torch.manual_seed(0)
    images = torch.randn(4, 1, 8, 8)
    for kernels in (0, 3):
        section = {net: {"minibatch_kernels": kernels}, "net": net, "objective": "gan"}
        if net == "dcgan":
            section["dcgan"]["features"] = 4
        critic = nets.build("discriminator", TrainParams.model_validate(section), (1, 8, 8))
        alone = critic(images[:2])
        assert torch.allclose(critic(images)[:2], alone, atol=1e-6) == (kernels == 0)
        assert isinstance(critic, mlp.Critic | dcgan.Critic)
        assert critic.features(images).shape[0] == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("train.objective=wgan-gp",), "train.mlp.minibatch_kernels: cannot be used with"),
        (("train.objective=rpgan",), "Set it to 0."),
        (("train.objective=gan", "train.accumulate=2"), "compares all images of a batch"),
        (("train.objective=gan", "train.devices=2"), "Set train.accumulate: 1"),
    ],
)
def test_what_it_does_not_go_with_is_refused(tmp_path, changes, said):
    (tmp_path / "params.yaml").write_text("{}\n")
    with pytest.raises(ParamsError, match=said):
        load(tmp_path / "params.yaml", ["train.mlp.minibatch_kernels=4", *changes])
    load(tmp_path / "params.yaml", ["train.mlp.minibatch_kernels=4", "train.objective=wgan"])


def test_its_first_and_second_derivatives_are_those_of_finite_differences():
    """Unrolling goes through the second ones."""
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(4, 2).double()
    features = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    weight = layer.rows.weight.detach().clone().requires_grad_()

    def by(rows, images):
        return torch.func.functional_call(layer, {"rows.weight": rows}, (images,))

    assert torch.autograd.gradcheck(by, (weight, features))
    assert torch.autograd.gradgradcheck(by, (weight, features))
