"""Values that are each valid alone but not together."""

from __future__ import annotations

import os

from monge import sizes
from monge.params.impossible import IMPOSSIBLE
from monge.params.methods import CLASSIFIES, COMPARES_ALL, ENCODES, PENALISES_EACH
from monge.params.nets import NET_SECTIONS
from monge.params.train import TrainParams
from monge.params.whole import Params

_TYING = {
    "critic_norm": ("batch ", "batch norm", "Use instance or none."),
    "minibatch_kernels": ("", "it", "Set it to 0."),
}


def impossible_pairs(params: Params) -> list[str]:
    """Combinations that are each valid alone but not together."""
    problems = []
    train = params.train
    tying = _tying(train)
    if tying and train.objective in PENALISES_EACH:
        named, ties, way = _TYING[tying.rpartition(".")[2]]
        problems.append(
            f"{tying}: {named}cannot be used with train.objective: {train.objective}, "
            f"because the penalty is on each image's own gradient and {ties} ties the images of a "
            f"batch together (Gulrajani et al. 2017, section 4). {way}"
        )
    if tying.endswith("kernels") and train.accumulate * train.devices > 1:
        problems.append(
            f"{tying}: compares all images of a batch, which cannot be summed up from its "
            "parts. Set train.accumulate: 1 and train.devices: 1."
        )
    problems += _of_the_size(params) + _of_the_plain(train)
    problems += _of_the_encoder(train) + _of_the_method(train) + _of_the_shell(params)
    parts = train.accumulate * train.devices
    if train.batch_size % parts:
        problems.append(
            f"train.batch_size: {train.batch_size} cannot be cut into train.accumulate x "
            f"train.devices = {parts} equal parts. Choose a multiple of {parts}."
        )
    if params.export.variant == "float16" and params.export.optimize_for == "throughput":
        problems.append(
            "export.variant: float16 cannot be used with export.optimize_for: throughput, whose "
            "sums lose too much in sixteen bits. Use latency (a GPU chooses its own form), or "
            "float32 or int8."
        )
    for condition in params.promote.conditions:
        if condition.model_fields_set <= {"metric"}:
            problems.append(
                f"promote.conditions: {condition.metric}: asks for nothing. Give it at_most, "
                "at_least, or improvement."
            )
    evaluate = params.evaluate
    if evaluate.images < 10 * evaluate.repeats:
        problems.append(
            f"evaluate.images: must be at least 10 times evaluate.repeats ({evaluate.repeats}), "
            f"got {evaluate.images}. Raise the one or lower the other."
        )
    return problems


def _of_the_plain(train: TrainParams) -> list[str]:
    """Refuse what the generator without norms does not go with."""
    if train.net != "dcgan-plain" or train.dcgan.generator_norm == "batch":
        return []
    return [
        f"train.dcgan.generator_norm: {train.dcgan.generator_norm}: dcgan-plain is the generator "
        "without norms. Set it to batch, which only dcgan reads, or train.net: dcgan."
    ]


def _of_the_size(params: Params) -> list[str]:
    """Refuse what a family does not draw."""
    family = NET_SECTIONS[params.train.net]
    width, height = sizes.sides(params.prepare.resolution)
    if family not in sizes.LARGEST:
        return []
    try:
        sizes.doublings(height, width, family)
    except ValueError as error:
        return [f"prepare.resolution: {error}. Choose one of these, or train.net: mlp."]
    return []


def _of_the_encoder(train: TrainParams) -> list[str]:
    """Refuse what a method without a critic of images does not go with."""
    if train.objective not in ENCODES:
        return []
    problems = []
    if train.augment != "none":
        problems.append(
            f"train.augment: {train.augment}: is for what a critic sees, and {train.objective} has "
            "none. Set it to none."
        )
    if train.extra_critic_steps != "none":
        problems.append(
            f"train.extra_critic_steps: {train.extra_critic_steps}: {train.objective} has no "
            "critic of images. Set it to none."
        )
    if train.accumulate > 1 and train.objective in COMPARES_ALL:
        problems.append(
            f"train.accumulate: {train.objective} compares all latents of a batch, which cannot be "
            "summed up from its parts. Set it to 1; several train.devices see each other's latents."
        )
    return problems


def _of_the_method(train: TrainParams) -> list[str]:
    """Refuse what a method does not go with."""
    classifies = train.net == "resnet" and train.resnet.head == "classifier" and train.conditional
    if classifies and train.objective not in {*CLASSIFIES, *ENCODES}:
        return [
            f"train.resnet.head: classifier: is for {' and '.join(CLASSIFIES)}, not "
            f"{train.objective}. Set train.resnet.head: projection."
        ]
    impossible = IMPOSSIBLE.get(train.objective)
    return impossible(train) if impossible else []


def _of_the_shell(params: Params) -> list[str]:
    """Paths from the home folder, which only a shell, and what is typed behind --set, knows."""
    paths = {"prepare.path": params.prepare.path, "train.init_from": params.train.init_from}
    return [
        f"{key}: {path}: DVC, which reads this file too, does not know what ~ is. Write "
        f"{os.path.expanduser(path)}"
        for key, path in paths.items()
        if path.startswith("~") and path != os.path.expanduser(path)
    ]


def _tying(train: TrainParams) -> str:
    """The key that makes an image's score rest on the rest of its batch; empty where none does."""
    section = NET_SECTIONS[train.net]
    of_net = getattr(train, section)
    if getattr(of_net, "minibatch_kernels", 0):
        return f"train.{section}.minibatch_kernels"
    tied = getattr(of_net, "critic_norm", "none") == "batch"
    return f"train.{section}.critic_norm" if tied else ""
