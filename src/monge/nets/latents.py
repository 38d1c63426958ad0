"""Networks that take latents and give a score: who tells an encoder's latents from the prior's."""

from __future__ import annotations

from torch import Tensor, nn

from monge.nets.labels import joined


class LatentDiscriminator(nn.Module):
    """Latents [n, z] to scores [n], logits: `depth` ReLU layers of `width`, no sigmoid.

    Tolstikhin et al. 2018, appendix: 4 layers of 512 for digits, of 1024 for faces. With
    `classes`, latents come with labels [n].
    """

    def __init__(self, latent_dim: int, depth: int, width: int, classes: int = 0) -> None:
        super().__init__()
        self.classes = classes
        layers: list[nn.Module] = []
        inputs = latent_dim + classes
        for _ in range(depth):
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        self.net = nn.Sequential(*layers, nn.Linear(inputs, 1))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        scores: Tensor = self.net(joined(latents, labels, self.classes))
        return scores[:, 0]
