"""Settings of training by name, each the best of those measured for its kind of images.

`auto` takes one of them (`choosing/training.py`), `benchmarks/quality.py` trains with them by name,
and docs/reference/methods.md has what they were measured with. Keys are those of the section
`train`; where somebody sets another method, what belongs to that one counts.
"""

from __future__ import annotations

from types import MappingProxyType

Value = str | float | bool

_CONVOLUTIONS: dict[str, Value] = {
    "net": "dcgan", "batch_size": 32, "average_half_life": 5000,
    "wgan-gp.learning_rate": 1e-3, "wgan-gp.critic_steps": 2, "rpgan.learning_rate": 4e-3,
}  # fmt: skip
_SLOPES: dict[str, Value] = {
    "objective": "wgan-gp", "dcgan.critic_norm": "instance", "dcgan.critic_initialisation": "small",
}  # fmt: skip
_PAIRS: dict[str, Value] = {
    "objective": "rpgan", "dcgan.critic_norm": "none", "dcgan.critic_initialisation": "he",
}  # fmt: skip

SETTINGS = MappingProxyType(
    {
        "small-pictures": {
            "net": "mlp", "batch_size": 64, "average_half_life": 20_000, **_SLOPES,
            "objective": "rpgan", "rpgan.learning_rate": 2e-3,
            "wgan-gp.learning_rate": 1e-3, "wgan-gp.critic_steps": 5,
        },
        "pictures": {**_CONVOLUTIONS, **_SLOPES},
        "pictures-in-classes": {**_CONVOLUTIONS, **_PAIRS, "conditional": True},
        "few-pictures": {**_CONVOLUTIONS, **_SLOPES, "augment": "ada"},
    }
)  # fmt: skip
