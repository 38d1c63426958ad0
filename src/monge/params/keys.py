"""The keys of `params.yaml`: what each wants, and which one is meant by one that is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from monge.params.methods import OBJECTIVE_SECTIONS
from monge.params.nets import NET_SECTIONS
from monge.params.whole import Params


def annotation(key: str) -> Any:
    """Return the type of a dotted key, a model for a section; None where there is no such key."""
    model: Any = Params
    for part in key.split("."):
        within = _items(model)
        if not _is_section(within):
            return None
        model = next((wanted for name, wanted in fields(within) if name == part), None)
    return model


def fields(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """Yield the name in the file and the type of each field of a section."""
    for name, field in model.model_fields.items():
        yield field.alias or name, field.annotation


def is_union(wanted: Any) -> bool:
    """Tell whether a value may be of several types."""
    return get_origin(wanted) in (Union, UnionType)


def takes_text(wanted: Any) -> bool:
    """Tell whether any text at all may be a value of this type."""
    return wanted is str or (get_origin(wanted) is not Literal and str in get_args(wanted))


def wants_whole(wanted: Any) -> bool:
    """Tell whether a value of this type is a whole number."""
    return wanted is int or int in get_args(wanted)


def canonical(value: Any, wanted: Any) -> Any:
    """Give a choice its own spelling: RGB is rgb, wgan_gp is wgan-gp, gray is grey.

    Other values stay as they are.
    """
    if _is_section(wanted):
        if not isinstance(value, dict):
            return value
        known = dict(fields(wanted))
        return {key: canonical(each, known.get(key)) for key, each in value.items()}
    if isinstance(value, str):
        for choice in _choices(wanted):
            if _spelling(value) == _spelling(choice):
                return choice
    return value


def _spelling(choice: str) -> str:
    return _bare(choice.strip().casefold()).replace(" ", "").replace("gray", "grey")


def hint(key: str, document: Mapping[str, Any]) -> str:
    """Name the known keys that an unknown one is nearest to: a question, or nothing."""
    found = nearest(key, document)
    if not found:
        return ""
    listed = ", ".join(found[:-1]) + " or " + found[-1] if len(found) > 1 else found[0]
    return f" Did you mean {listed}?"


_OPPONENT_STEPS = ("critic_steps", "discriminator_steps")
_PENALTY = ("penalty_weight",)
# Names that other programs and papers have for a key's last part.
_MEANT = {
    "lr": ("learning_rate",), "batch": ("batch_size",), "bs": ("batch_size",),
    "epochs": ("steps",), "iterations": ("steps",), "iters": ("steps",),
    "size": ("resolution",), "image_size": ("resolution",), "img_size": ("resolution",),
    "height": ("resolution",),
    "color": ("colour",), "channels": ("colour",), "folder": ("path",), "images_dir": ("path",),
    "data_dir": ("path",), "z_dim": ("latent_dim",), "nz": ("latent_dim",), "z": ("latent_dim",),
    "model": ("net",), "network": ("net",), "method": ("objective",), "gpus": ("devices",),
    "ngf": ("features",), "ndf": ("critic_features",), "gp_weight": _PENALTY, "lambda": _PENALTY,
    "n_critic": _OPPONENT_STEPS, "critic_steps": _OPPONENT_STEPS,
    "discriminator_steps": _OPPONENT_STEPS,
}  # fmt: skip
_ALIKE, _LIKE_ENOUGH = 0.62, 0.75
"""The least likeness of the last parts, alone and with what the same section adds."""


def nearest(key: str, document: Mapping[str, Any]) -> list[str]:
    """Find the known keys that are most like an unknown one, at most three that are equally so.

    A key of the same name elsewhere comes before one of a like name here, and the sections of the
    method and the net that `document` chooses before those of others.
    """
    *parents, last = key.lower().split(".")
    unused = _unused(document)
    wanted = [_bare(each) for each in _MEANT.get(last, (last,))]
    scores: dict[str, float] = {}
    for known in _every_key(Params, ""):
        *above, name = known.split(".")
        name = _bare(name)
        like = max(difflib.SequenceMatcher(None, each, name).ratio() for each in wanted)
        if like < _ALIKE:
            continue
        like = 2.0 if name in wanted else like + 0.25 * (above == parents)
        if like >= _LIKE_ENOUGH:
            here = 0.3 * (above[:1] == parents[:1])
            scores[known] = like + here - 0.2 * (".".join(above) in unused)
    best = max(scores.values(), default=0.0)
    found = [known for known, score in scores.items() if score == best]
    return found if len(found) <= 3 else []


def _bare(name: str) -> str:
    """Leave out what stands between the words of a name."""
    return name.replace("_", "").replace("-", "")


def _every_key(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield sections and keys, dotted."""
    for name, wanted in fields(model):
        yield prefix + name
        if _is_section(_items(wanted)):
            yield from _every_key(_items(wanted), f"{prefix}{name}.")


def _unused(document: Mapping[str, Any]) -> set[str]:
    """The sections of `train` that the document's own method and net do not read."""
    train = document.get("train")
    chosen = train if isinstance(train, Mapping) else {}
    unused: set[str] = set()
    for choice, table in (("objective", OBJECTIVE_SECTIONS), ("net", NET_SECTIONS)):
        used = table.get(str(chosen.get(choice, Params().model_dump()["train"][choice])))
        if used is not None:
            unused |= {f"train.{section}" for section in table.values() if section != used}
    return unused


def _choices(wanted: Any) -> Iterator[str]:
    """Yield the words that a type lists, also one of several types."""
    if get_origin(wanted) is Literal:
        yield from (choice for choice in get_args(wanted) if isinstance(choice, str))
    else:
        for part in get_args(wanted):
            yield from _choices(part)


def _items(wanted: Any) -> Any:
    """The type of a list's items; another type itself."""
    return get_args(wanted)[0] if get_origin(wanted) is list else wanted


def _is_section(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, BaseModel)
