"""Every method with each of its options, as changes of the section `train`.

Options of networks and of images are spread over the kinds, as each kind is trained in many tests.
"""

from typing import Any

_EVERY_OPTION = {"label_smoothing": 0.1, "instance_noise": 0.5, "historical_averaging": 0.1}
_SPECTRAL = {net: {"critic_norm": "spectral"} for net in ("mlp", "dcgan", "resnet")}
_HE = {
    "mlp": {"critic_initialisation": "he"},
    "dcgan": {"critic_norm": "none", "critic_initialisation": "he"},
}

_VIRTUAL = {
    "mlp": {"generator_norm": "virtual", "critic_initialisation": "he"},
    "dcgan": {"generator_norm": "virtual", "critic_norm": "none"},
}

KINDS: dict[str, dict[str, Any]] = {
    "wgan": {"objective": "wgan"},
    "wgan, spectral": {
        "objective": "wgan", "wgan": {"clip": 0.0}, "augment": "diffaugment", **_SPECTRAL,
    },
    "wgan-gp": {"objective": "wgan-gp"},
    "wgan-gp, one-sided": {"objective": "wgan-gp", "wgan-gp": {"penalty": "one-sided"}},
    "wgan-gp, virtual norms": {"objective": "wgan-gp", **_VIRTUAL},
    "wgan-gp, augmented": {"objective": "wgan-gp", "augment": "diffaugment"},
    "rpgan, adaptive": {"objective": "rpgan", "augment": "ada"},
    "rpgan": {"objective": "rpgan", "rpgan": {"penalty_weight_end": 0.1}, **_HE},
    "gan": {"objective": "gan"},
    "gan, minimax": {"objective": "gan", "gan": {"loss": "minimax"}, "augment": "diffaugment"},
    "gan, hinge": {"objective": "gan", "gan": {"loss": "hinge"}, **_SPECTRAL},
    "gan, held back": {"objective": "gan", "gan": _EVERY_OPTION},
    "gan, matched": {"objective": "gan", "gan": {"feature_matching": True}},
    "gan, unrolled": {"objective": "gan", "gan": {"unroll_steps": 2}},
    "gan, compared": {
        "objective": "gan", "mlp": {"minibatch_kernels": 3},
        "dcgan": {"minibatch_kernels": 3, "critic_norm": "batch"},
    },
    "vae": {"objective": "vae"},
    "wae-mmd": {"objective": "wae-mmd"},
    "wae-mmd, gaussian": {
        "objective": "wae-mmd", "wae-mmd": {"encoder": "gaussian", "kernel": "seven"},
    },
    "wae-gan": {"objective": "wae-gan", "wae-gan": {"discriminator_width": 16}},
    "wae-gan, noised": {
        "objective": "wae-gan",
        "wae-gan": {"encoder": "gaussian", "input_noise": 0.1, "warm_start": 2},
    },
}  # fmt: skip

WHOLE = ("gan, matched", "gan, unrolled", "gan, compared", "wae-mmd", "wae-mmd, gaussian")
"""Those whose loss is no sum over the batch."""


def of_kind(kind: str, **more: Any) -> dict[str, Any]:
    """The section `train` of a kind, with `more` laid over it, section by section."""
    train: dict[str, Any] = {**KINDS[kind]}
    for key, value in more.items():
        known = train.get(key)
        merges = isinstance(value, dict) and isinstance(known, dict)
        train[key] = {**value, **known} if merges and known else value
    return train
