"""Protects: the networks are the papers' networks, at every size."""

import pytest
import torch
from torch import nn

from monge import nets
from monge.nets import dcgan
from monge.params import TrainParams


class ReferenceCritic(nn.Module):
    """The DCGAN-64 critic written out layer by layer, as a reference."""

    def __init__(self, channels, f):
        super().__init__()
        self.disc = nn.Sequential(
            nn.Conv2d(channels, f, 4, 2, 1),
            nn.LeakyReLU(0.2),
            *self.block(f, f * 2),
            *self.block(f * 2, f * 4),
            *self.block(f * 4, f * 8),
            nn.Conv2d(f * 8, 1, kernel_size=4, stride=2, padding=0),
        )

    def block(self, i, o):
        return (
            nn.Conv2d(i, o, 4, 2, 1, bias=False),
            nn.InstanceNorm2d(o, affine=True),
            nn.LeakyReLU(0.2),
        )

    def forward(self, x):
        return self.disc(x)


class ReferenceGenerator(nn.Module):
    """The DCGAN-64 generator written out layer by layer, as a reference."""

    def __init__(self, z, channels, f):
        super().__init__()
        self.net = nn.Sequential(
            *self.block(z, f * 16, 1, 0),
            *self.block(f * 16, f * 8, 2, 1),
            *self.block(f * 8, f * 4, 2, 1),
            *self.block(f * 4, f * 2, 2, 1),
            nn.ConvTranspose2d(f * 2, channels, 4, 2, 1),
            nn.Tanh(),
        )

    def block(self, i, o, stride, padding):
        return (
            nn.ConvTranspose2d(i, o, 4, stride, padding, bias=False),
            nn.BatchNorm2d(o),
            nn.ReLU(),
        )

    def forward(self, z):
        return self.net(z[:, :, None, None])


def copy_in_order(source, target):
    ours, theirs = list(source.state_dict().values()), target.state_dict()
    assert [t.shape for t in ours] == [t.shape for t in theirs.values()]
    target.load_state_dict(dict(zip(theirs, ours, strict=True)))


def test_dcgan_at_64_pixels_is_the_reference_layer_by_layer():
    torch.manual_seed(0)
    generator, critic = dcgan.Generator(100, (3, 64, 64), 8), dcgan.Critic((3, 64, 64), 8)
    reference_generator, reference_critic = ReferenceGenerator(100, 3, 8), ReferenceCritic(3, 8)
    copy_in_order(generator, reference_generator)
    copy_in_order(critic, reference_critic)
    z = torch.randn(4, 100)
    images = generator(z)
    torch.testing.assert_close(images, reference_generator(z), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        critic(images), reference_critic(images).flatten(), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("net", ["dcgan", "dcgan-plain", "mlp"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16, 32, 64, 128])
def test_every_net_draws_and_scores_every_size(net, channels, size):
    small = {"dcgan": {"features": 2}, "mlp": {"depth": 1, "width": 8}}
    train = TrainParams.model_validate({"net": net, "latent_dim": 5, **small})
    generator = nets.build("generator", train, (channels, size, size))
    critic = nets.build("critic", train, (channels, size, size))
    images = generator(torch.randn(3, 5))
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1.0
    assert critic(images).shape == (3,)


def test_no_sigmoid_a_critic_scores_on_both_sides_of_zero_and_beyond_one():
    critic = dcgan.Critic((1, 8, 8), 4)
    with torch.no_grad():
        next(critic.net[-2].parameters()).fill_(1.0)
        scores = critic(torch.stack([torch.full((1, 8, 8), v) for v in (-50.0, 50.0)]))
    assert scores.min() < 0 or scores.max() > 1.0


def test_the_plain_generator_has_no_norm_and_one_width():
    generator = dcgan.Generator(100, (3, 64, 64), 8, plain=True)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in generator.modules())
    widths = {m.out_channels for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)}
    assert widths == {16, 3}


def test_the_critics_first_layer_has_no_norm():
    layers = list(dcgan.Critic((3, 64, 64), 8).net)
    assert isinstance(layers[0], nn.Conv2d)
    assert isinstance(layers[1], nn.LeakyReLU)
    assert isinstance(layers[3], nn.InstanceNorm2d)
    assert layers[3].affine


def test_the_papers_mlp_is_four_layers_of_512():
    generator = nets.build("generator", TrainParams(), (3, 64, 64))
    linear = [m for m in generator.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [512, 512, 512, 512, 3 * 64 * 64]


@pytest.mark.parametrize(
    ("net", "section", "key"),
    [
        ("mlp", {"depth": 2, "width": 8}, "critic_width"),
        ("dcgan", {"features": 4}, "critic_features"),
        ("dcgan-plain", {"features": 4}, "critic_features"),
        ("resnet", {"features": 4}, "critic_features"),
    ],
)
def test_the_critics_width_is_its_own_where_it_is_given(net, section, key):
    def shapes(role, **more):
        sections = {net.removesuffix("-plain"): {**section, **more}}
        built = nets.build(role, TrainParams.model_validate({"net": net, **sections}), (3, 16, 16))
        return [weight.shape for weight in built.parameters()]

    wide = {next(iter({"width", "features"} & section.keys())): 12}
    for role in ("critic", "discriminator", "encoder"):
        assert shapes(role, **{key: 12}) == shapes(role, **wide) != shapes(role)
        assert shapes(role, **{key: 0}) == shapes(role)
    assert shapes("generator", **{key: 12}) == shapes("generator") != shapes("generator", **wide)


def test_half_the_features_beside_a_whole_critic_are_the_wgan_authors_networks():
    """Their generator's widths at 64 pixels are 512, 256, 128, 64, half of DCGAN's."""
    train = TrainParams.model_validate(
        {"net": "dcgan", "latent_dim": 100, "dcgan": {"features": 32, "critic_features": 64}}
    )
    layers = [
        [
            (m.in_channels, m.out_channels, m.kernel_size, m.stride, m.padding)
            for m in nets.build(role, train, (3, 64, 64)).modules()
            if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
        ]
        for role in ("generator", "critic")
    ]
    k, two, one = (4, 4), (2, 2), (1, 1)
    assert layers[0] == [
        (100, 512, k, one, (0, 0)), (512, 256, k, two, one), (256, 128, k, two, one),
        (128, 64, k, two, one), (64, 3, k, two, one),
    ]  # fmt: skip
    assert layers[1][:-1] == [
        (3, 64, k, two, one), (64, 128, k, two, one), (128, 256, k, two, one),
        (256, 512, k, two, one),
    ]  # fmt: skip
    assert layers[1][-1][:3] == (512, 1, k)


@pytest.mark.parametrize("shape", [(3, 36, 36), (3, 256, 256), (3, 4, 4), (1, 17, 32)])
def test_a_size_that_dcgan_cannot_draw_is_refused(shape):
    with pytest.raises(ValueError, match="dcgan draws no"):
        dcgan.Generator(8, shape, 2)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_matrix_form_of_a_transposed_convolution_is_exact_to_its_second_derivative(
    bias, layout
):
    torch.manual_seed(0)
    ours = dcgan.Upsample(256, 3, 4, 2, 1, bias=bias).double().to(memory_format=layout)
    theirs = torch.nn.ConvTranspose2d(256, 3, 4, 2, 1, bias=bias).double()
    theirs.load_state_dict(ours.state_dict())
    maps = torch.randn(2, 256, 4, 4, dtype=torch.double, requires_grad=True)
    found = []
    for layer in (ours, theirs):
        images = layer(maps)
        (gradient,) = torch.autograd.grad(images.square().sum(), maps, create_graph=True)
        layer.zero_grad()
        (gradient.norm() + images.sum()).backward()
        found.append([images, gradient, *(weight.grad for weight in layer.parameters())])
    torch.testing.assert_close(found[0], found[1], rtol=1e-11, atol=1e-11)
