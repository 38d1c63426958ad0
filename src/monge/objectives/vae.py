"""VAE: latents of an image are a Gaussian that is kept near the prior (Kingma and Welling 2014).

    min over Q, G  of  E_x [ E_z~Q(z|x) |x - G(z)|^2 / (2 s^2) + KL(Q(z|x), P_z) ]

The negative of equation 3 there, the evidence's lower bound, without its constant, for a generator
whose images have normal noise of deviation s = `decoder_deviation`. The encoder is always Gaussian.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from monge.objectives.autoencoder import AutoEncoder, Code, Readings
from monge.objectives.autoencoder_watch import AutoEncoderWatch
from monge.objectives.objective import Execution, Labels, Networks
from monge.objectives.watch import Trouble
from monge.params import TrainParams

COLLAPSED = 0.02
"""Nats of an image's latents altogether: an encoder that tells images apart has tens."""


def divergence(code: Code) -> Tensor:
    """KL(Q(z|x), N(0, 1)) in nats, the mean over images (Kingma and Welling 2014, appendix B)."""
    assert code.log_variance is not None
    each = code.mean.square() + code.log_variance.exp() - code.log_variance - 1.0
    return each.sum(1).mean() / 2.0


class Vae(AutoEncoder):
    """The evidence's lower bound, with one sample of an image's latents in each iteration."""

    def __init__(self, train: TrainParams, how: Execution) -> None:
        super().__init__(train, how)
        self.error_weight = 0.5 / train.vae.decoder_deviation**2

    def loss(
        self, networks: Networks, error: Tensor, code: Code, labels: Labels, prior: Tensor
    ) -> tuple[Tensor, Readings]:
        """The negative of the bound, in nats, and the divergence in it."""
        apart = divergence(code)
        return self.error_weight * error + apart, {"latent_divergence": apart.detach()}


class VaeWatch(AutoEncoderWatch):
    """Its posterior collapses where noise explains the images as well as latents would."""

    def __init__(self, train: TrainParams) -> None:
        # The error weighs the less, the wider the noise: latents then stay nearer to the prior.
        self.deviation = f"train.vae.decoder_deviation ({train.vae.decoder_deviation:g})"
        super().__init__(train, "vae", self.deviation)

    def divergence(self, networks: Networks, code: Code, labels: Labels, prior: Tensor) -> Tensor:
        """The mean divergence of an image's latents from the prior, in nats."""
        return divergence(code)

    def troubles(
        self, figures: Mapping[str, float], image_shape: tuple[int, ...], patience: int
    ) -> Iterator[Trouble]:
        """Latents that are the prior's whatever the image, too."""
        yield from super().troubles(figures, image_shape, patience)
        apart = figures["latent_divergence"]
        yield Trouble(
            "posterior_collapse", apart < COLLAPSED,
            f"the posterior has collapsed: latents tell nothing of their image (divergence from "
            f"the prior {apart:.2g} nats, for {patience} steps or more), and all images come back "
            f"as one.\nLower {self.deviation}, or lower {self.rate}.",
            apart,
        )  # fmt: skip
