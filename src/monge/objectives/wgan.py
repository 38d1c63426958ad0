"""WGAN: the critic's weights are clipped to a box (Arjovsky et al. 2017, Algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monge.objectives.objective import Execution, Networks
from monge.objectives.optimizers import rate
from monge.objectives.schedule import CriticSchedule
from monge.objectives.wasserstein import WassersteinObjective
from monge.params import WganParams


class Wgan(WassersteinObjective):
    """Clip every weight to [-c, c] after each critic step; RMSProp, no momentum, no log."""

    def __init__(
        self, params: WganParams, schedule: CriticSchedule, how: Execution, *, one_pass: bool
    ) -> None:
        super().__init__(params.learning_rate, schedule, how, one_pass=one_pass)
        self.clip = params.clip

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        """RMSProp for both: the paper found momentum to make the critic's training unstable."""
        return {
            role: torch.optim.RMSprop(
                networks[role].parameters(), **rate(networks[role], self.learning_rate),
                foreach=True,
            )
            for role in self.roles
        }  # fmt: skip

    @torch.no_grad()
    def project(self, critic: nn.Module) -> None:
        """w <- clip(w, -c, c)."""
        weights: list[Tensor] = list(critic.parameters())
        torch._foreach_clamp_min_(weights, -self.clip)
        torch._foreach_clamp_max_(weights, self.clip)
