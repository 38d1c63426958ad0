"""Protects: each auto-encoder's losses and their order, against a float64 loop by the equations."""

import copy
import math
from typing import Any

import pytest
import torch

from monge.errors import ParamsError
from monge.metrics import mmd
from monge.objectives import Noise
from monge.objectives.autoencoder import Code, encode, off_prior
from monge.objectives.vae import divergence
from monge.objectives.wae_mmd import SCALES, squared_mmd
from monge.params import load
from tests.unit.objectives.small import CPU, SHAPE, make, real_batches

METHODS = ("vae", "wae-mmd", "wae-gan")
SECTIONS: dict[str, dict[str, Any]] = {
    "vae": {"decoder_deviation": 0.4, "input_noise": 0.1},
    "wae-mmd": {"penalty_weight": 3.0, "kernel": "seven"},
    "wae-gan": {
        "penalty_weight": 3.0, "encoder": "gaussian", "discriminator_width": 8,
        "discriminator_learning_rate": 2e-3,
    },
}  # fmt: skip


def log_sigmoid(x):
    return -torch.log(1 + torch.exp(-x))


def imq(x, y, z, scales):
    square = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    return sum(2 * z * s / (2 * z * s + square) for s in scales)


def mmd_by_pairs(codes, prior, labels, scales):
    """The definition, pair by pair; with labels only those of one label count."""
    n, z = codes.shape
    total = torch.zeros(())
    for i in range(n):
        for j in range(n):
            same = labels is None or labels[i] == labels[j]
            if i != j and same:
                both = imq(codes[i], codes[j], z, scales) + imq(prior[i], prior[j], z, scales)
                total = total + both / (n * (n - 1))
            if labels is None:
                total = total - 2 * imq(codes[i], prior[j], z, scales) / n**2
            elif i != j and same:
                total = total - 2 * imq(codes[i], prior[j], z, scales) / (n * (n - 1))
    return total


def students_loop(method, networks, steps, classes):
    """Written from the papers: the draws in the order that the training's noise gives them."""
    section, z = SECTIONS[method], 4
    rates = dict.fromkeys(networks, 1e-3) | {"latent_discriminator": 2e-3}
    adams = {
        role: torch.optim.Adam(net.parameters(), lr=rates[role], betas=(0.5, 0.999), foreach=False)
        for role, net in networks.items()
    }
    noise, reals = Noise(3, z, CPU), real_batches(classes)
    for _ in range(steps):
        real, labels = next(reals)
        y = () if labels is None else (labels,)
        prior = noise.normal(6, z)
        spread = noise.normal(6, z) if method != "wae-mmd" else None
        shown = real + 0.1 * noise.normal(6, *SHAPE) if method == "vae" else real
        outputs = networks["encoder"](shown)
        mean, log_variance = outputs[:, :z], outputs[:, z:]
        codes = mean if spread is None else mean + torch.sqrt(torch.exp(log_variance)) * spread
        images = networks["generator"](codes, *y)
        loss = torch.zeros(())
        for place in range(6):
            square = ((images[place] - real[place]) ** 2).sum()
            loss = loss + square / 6 / (2 * 0.4**2 if method == "vae" else 1)
            if method == "vae":
                variance = torch.exp(log_variance[place])
                kl = (mean[place] ** 2 + variance - torch.log(variance) - 1).sum() / 2
                loss = loss + kl / 6
        judge = networks.get("latent_discriminator")
        if method == "wae-mmd":
            loss = loss + 3.0 * mmd_by_pairs(codes, prior, labels, SCALES[section["kernel"]])
        if method == "wae-gan":
            loss = loss - 3.0 * log_sigmoid(judge(codes, *y)).mean()
        for role in ("encoder", "generator"):
            adams[role].zero_grad()
        loss.backward()
        for role in ("encoder", "generator"):
            adams[role].step()
        if method == "wae-gan":
            codes = codes.detach()
            adams["latent_discriminator"].zero_grad()
            told = log_sigmoid(judge(prior, *y)).mean() + log_sigmoid(-judge(codes, *y)).mean()
            (-told).backward()
            adams["latent_discriminator"].step()


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("net", ["mlp", "dcgan"])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("method", METHODS)
def test_iterations_move_every_weight_as_a_students_loop_does(method, net, classes):
    _, networks, objective = make(method, net, classes, **{method: SECTIONS[method]})
    textbook = copy.deepcopy(networks)
    optimizers, noise = objective.optimizers(networks), Noise(3, 4, CPU)
    reals = real_batches(classes)
    for _ in range(3):
        objective.iterate(networks, optimizers, reals, noise, 1)
    students_loop(method, textbook, 3, classes)
    for role, network in networks.items():
        for name, weight in network.state_dict().items():
            torch.testing.assert_close(weight, textbook[role].state_dict()[name], rtol=0, atol=1e-8)


def test_the_divergence_of_a_gaussian_is_torchs():
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros(5, 3), torch.ones(5, 3))
    wanted = torch.distributions.kl_divergence(posterior, prior).sum(1).mean()
    torch.testing.assert_close(divergence(Code(mean, mean, log_variance)), wanted)


def test_the_squared_distance_is_that_of_the_metrics_and_zero_in_the_mean():
    dice = torch.Generator().manual_seed(0)
    x, y = (torch.randn(40, 6, generator=dice, dtype=torch.float64) for _ in range(2))
    ours = float(squared_mmd(x + 0.5, y, None, SCALES["seven"]))
    theirs = mmd.mmd_squared(
        (x + 0.5).numpy(), y.numpy(), mmd.inverse_multiquadratic(square=2.0 * 6)
    )
    assert ours == pytest.approx(theirs, rel=1e-9)
    found = []
    for seed in range(400):
        dice.manual_seed(seed)
        x, y = (torch.randn(8, 2, generator=dice, dtype=torch.float64) for _ in range(2))
        labels = torch.randint(2, (8,), generator=dice)
        found.append([float(squared_mmd(x, y, some, SCALES["seven"])) for some in (None, labels)])
    means = torch.tensor(found).mean(0)
    errors = torch.tensor(found).std(0) / math.sqrt(len(found))
    assert (means.abs() < 3 * errors).all()  # the unbiased estimate, of equal distributions
    assert (torch.tensor(found) < 0).any(0).all()


def test_with_labels_the_joint_distribution_counts():
    """Each label's latents at another place: all together they are as the prior's."""
    dice = torch.Generator().manual_seed(1)
    z = torch.randn(400, 1, generator=dice)
    latents = z.sort(0).values  # the first half's label has the small ones
    labels = torch.arange(400) // 200
    prior = torch.randn(400, 1, generator=dice)
    assert squared_mmd(latents, prior, None, SCALES["one"]).abs() < 0.01
    assert squared_mmd(latents, prior, labels, SCALES["one"]) > 0.03


def test_an_encoder_without_noise_gives_the_mean():
    images = torch.zeros(3, *SHAPE)
    outputs = torch.arange(24.0).reshape(3, 8)

    class Known(torch.nn.Module):
        def forward(self, _):
            return outputs

    code = encode(Known(), images, 4, None)
    assert torch.equal(code.latents, outputs[:, :4])
    code = encode(Known(), images, 4, torch.ones(3, 4))
    torch.testing.assert_close(
        code.latents, outputs[:, :4] + (outputs[:, 4:].clamp(max=20) / 2).exp()
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_warm_start_brings_the_encoder_to_the_prior_and_leaves_the_rest(method):
    _, networks, objective = make(method, **{method: {"warm_start": 150, "learning_rate": 0.01}})
    assert [objective.batches_at(step) for step in (0, 1)] == [151, 1]
    assert [objective.batches_before(step) for step in (0, 1, 2)] == [0, 151, 152]
    generator = copy.deepcopy(networks["generator"].state_dict())
    batches = real_batches()
    images = torch.cat([next(batches)[0] for _ in range(20)])  # a batch, and what is looked at
    optimizers, noise = objective.optimizers(networks), Noise(0, 4, CPU)

    def distance():
        with torch.no_grad():
            spread = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
            return float(off_prior(encode(networks["encoder"], images, 4, spread).latents))

    before = distance()
    for _ in range(150):
        objective._warm_up(networks["encoder"], optimizers["encoder"], images, noise)
    assert distance() < 0.5 * before
    for name, weight in networks["generator"].state_dict().items():
        assert torch.equal(weight, generator[name])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("train.objective=vae", "train.augment=ada"), "train.augment: ada: is for what a critic"),
        (("train.objective=wae-gan", "train.extra_critic_steps=authors"), "no critic of images"),
        (("train.objective=wae-mmd", "train.accumulate=2"), "compares all latents of a batch"),
    ],
)
def test_what_has_no_critic_says_so(changes, said, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("{}\n")
    with pytest.raises(ParamsError, match=said):
        load(path, list(changes))
