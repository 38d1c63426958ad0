"""WGAN: the critic's weights are clipped to a box (Arjovsky et al. 2017, Algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monge.objectives.objective import Execution, Networks
from monge.objectives.optimizers import rate
from monge.objectives.wasserstein import WassersteinObjective
from monge.objectives.wasserstein_watch import WassersteinWatch
from monge.objectives.watch import HeldOut
from monge.params import TrainParams

_AT_CLIP = 0.99


class Wgan(WassersteinObjective):
    """Clip every weight to [-c, c] after each critic step; RMSProp, no momentum, no log."""

    def __init__(self, train: TrainParams, how: Execution) -> None:
        params = train.wgan
        super().__init__(params.learning_rate, params.critic_steps, train, how)
        self.clip = params.clip

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        """RMSProp for both: the paper found momentum to make the critic's training unstable."""
        return {
            role: torch.optim.RMSprop(
                networks[role].parameters(), **rate(networks[role], self.rates[role]),
                foreach=True,
            )
            for role in self.roles
        }  # fmt: skip

    @torch.no_grad()
    def project(self, critic: nn.Module) -> None:
        """w <- clip(w, -c, c) after the step, as Algorithm 1; the authors' code clips before it.

        Nothing where the norm holds the critic.
        """
        if not self.clip:
            return
        weights: list[Tensor] = list(critic.parameters())
        torch._foreach_clamp_min_(weights, -self.clip)
        torch._foreach_clamp_max_(weights, self.clip)


class WganWatch(WassersteinWatch):
    """Its clip range holds the critic: too tight it dies, too wide it explodes."""

    def __init__(self, train: TrainParams) -> None:
        super().__init__("wgan", train.wgan.learning_rate)
        self.clip = train.wgan.clip

    def measure(self, networks: Networks, held_out: HeldOut) -> dict[str, Tensor]:
        """Beside the others `weights_at_clip`: the share of the critic's weights at either end.

        None where nothing is clipped. Most of them gather there (Gulrajani et al. 2017, figure 1).
        """
        measured = super().measure(networks, held_out)
        if not self.clip:
            return measured
        weights = [weight.detach() for weight in networks["critic"].parameters()]
        at_clip = torch.stack([(w.abs() >= _AT_CLIP * self.clip).sum() for w in weights]).sum()
        share: Tensor = at_clip / sum(weight.numel() for weight in weights)
        return measured | {"weights_at_clip": share}

    def dead_remedy(self) -> str:
        """The range is narrow against the depth."""
        if not self.clip:  # spectral norm divides the first weights by their size, as all others
            return (
                f"Its units have died: lower {self.rate}. Where it was so from the first step on, "
                "spectral norm lets nothing through so many layers: use fewer."
            )
        return (
            f"train.wgan.clip: {self.clip:g} is too tight for so deep a critic: raise it, or use "
            "train.objective: wgan-gp."
        )

    def exploding_critic_remedy(self) -> str:
        """The range bounds the slope."""
        if not self.clip:
            return super().exploding_critic_remedy()
        return f".\nLower train.wgan.clip ({self.clip:g}) or {self.rate}."
