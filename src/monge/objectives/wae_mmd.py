"""WAE-MMD: latents of all images together are brought to the prior by a kernel's distance.

    min over Q, G  of  E_x |x - G(z)|^2 + weight * MMD_k(Q_z, P_z)^2,  k(x, y) = C / (C + |x - y|^2)

Tolstikhin et al. 2018, Algorithm 2: the inverse multiquadratic kernel, whose tails reach latents
far out, and the unbiased estimate of the squared distance, which may be negative. C = 2 z, what
|x - y|^2 is on average for two latents of the prior (paper); the authors' code adds up seven
kernels, of C times 0.1 to 10 (`kernel: seven`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from monge.objectives.autoencoder import AutoEncoder, Code, Readings
from monge.objectives.autoencoder_watch import AutoEncoderWatch
from monge.objectives.objective import Execution, Labels, Networks
from monge.params import TrainParams

SCALES = {"one": (1.0,), "seven": (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)}
"""The factors of C, by the name of `train.wae-mmd.kernel`."""


def kernel(x: Tensor, y: Tensor, scales: tuple[float, ...]) -> Tensor:
    """k(x, y) for each row of x [n, z] with each of y [m, z], summed over the scales: [n, m]."""
    squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2.0 * x @ y.T
    squares = squares.clamp(min=0.0)
    wide = 2.0 * x.shape[1]
    each = [wide * scale / (wide * scale + squares) for scale in scales]
    return torch.stack(each).sum(0)


def squared_mmd(
    latents: Tensor, prior: Tensor, labels: Labels, scales: tuple[float, ...]
) -> Tensor:
    """The unbiased estimate between latents and those of the prior, both [n, z]; a scalar.

    With labels, of the joint distributions: the kernel of two rows of different labels is 0, and
    as a row of the prior has the label of the image in its place, no row meets its own label's.
    """
    n = len(latents)
    within, across = n * (n - 1), n * n
    others = 1.0 - torch.eye(n, dtype=latents.dtype, device=latents.device)
    counted = crossing = others
    if labels is None:
        crossing = torch.ones_like(others)
    else:
        counted = crossing = others * (labels[:, None] == labels[None, :])
        across = within
    of_latents = (kernel(latents, latents, scales) * counted).sum() / within
    of_prior = (kernel(prior, prior, scales) * counted).sum() / within
    between = (kernel(latents, prior, scales) * crossing).sum() / across
    return of_latents + of_prior - 2.0 * between


class WaeMmd(AutoEncoder):
    """Algorithm 2 of Tolstikhin et al. 2018. The divergence is one of the whole batch."""

    def __init__(self, train: TrainParams, how: Execution) -> None:
        super().__init__(train, how)
        self.weight = train.wae_mmd.penalty_weight
        self.scales = SCALES[train.wae_mmd.kernel]

    def loss(
        self, networks: Networks, error: Tensor, code: Code, labels: Labels, prior: Tensor
    ) -> tuple[Tensor, Readings]:
        """The squared error and the weighted divergence, and the divergence."""
        all_labels = None if labels is None else self.together(labels)
        both = self.together(code.latents), self.together(prior)
        apart = squared_mmd(*both, all_labels, self.scales)
        return error + self.weight * apart, {"latent_divergence": apart.detach()}


class WaeMmdWatch(AutoEncoderWatch):
    """Its latents leave the prior where the squared error outweighs the divergence."""

    def __init__(self, train: TrainParams) -> None:
        weight = train.wae_mmd.penalty_weight
        super().__init__(train, "wae-mmd", f"train.wae-mmd.penalty_weight ({weight:g})")
        self.scales = SCALES[train.wae_mmd.kernel]

    def divergence(self, networks: Networks, code: Code, labels: Labels, prior: Tensor) -> Tensor:
        """The squared distance of these latents from the prior's."""
        return squared_mmd(code.latents, prior, labels, self.scales)
