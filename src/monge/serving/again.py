"""Make a picture again from what its mark says of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from monge.errors import InputError
from monge.latents import latents, slerp
from monge.serving import marks, pictures
from monge.serving.marks import Mark, Recipe
from monge.serving.sampler import Images, Latents, Sampler

if TYPE_CHECKING:
    from PIL import Image

_MOST_OF_A_WALK = 1024
"""Images from one end of a walk to the other, of which a picture may show one."""


def described(path: Path) -> Iterator[str]:
    """Describe a picture from its mark, with the command that makes it again, in lines."""
    mark = marks.read(path)
    width, height = mark.size
    yield f"{path}: {width} x {height}, a generated picture"
    yield f"  source     {mark.source_type or '-'}"
    yield f"  made by    {mark.tool or '-'}"
    yield f"  generator  {mark.model or '-'}, SHA-256 {mark.model_hash or '-'}"
    if not mark.recipe:
        yield "  made from  more than a mark holds: it cannot be made again from itself"
        return
    for name, value in mark.recipe.items():
        text = str(value)
        yield f"  {name:10} {text if len(text) <= 80 else text[:77] + '...'}"
    words = ["monge", "sample", mark.model or "generator.onnx", "--like", str(path), "-o"]
    yield f"again: {shlex.join([*words, f'again{path.suffix}'])}"


def made_again(sampler: Sampler, path: Path) -> tuple[Image.Image, Mark]:
    """Draw the picture of a file again, to the same pixels.

    Raises InputError for a picture of another generator, or without a recipe.
    """
    mark = marks.read(path)
    if mark.model_hash != sampler.model_hash:
        raise InputError(
            f"{path}: was made by the generator {mark.model_hash[:12]}... "
            f"({mark.model or 'a file'}), and this one is {sampler.model_hash[:12]}.... Give that "
            "one."
        )
    if not mark.recipe:
        raise InputError(f"{path}: what it was made from is more than its mark holds.")
    try:
        _refuse_more(sampler, mark)
        return _picture(sampler, mark.recipe), mark
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise InputError(f"{path}: its recipe is damaged: {str(mark.recipe)[:80]}.") from None


def _refuse_more(sampler: Sampler, mark: Mark) -> None:
    """Raise ValueError for a recipe of more images than a picture of this size can show.

    A picture may come from anybody, and its recipe be made up.
    """
    recipe, (width, height) = mark.recipe, mark.size
    height_of_one, width_of_one, _ = sampler.contract.image_shape
    lists = (len(recipe.get(name, ())) for name in ("seeds", "latents"))
    most = max(_MOST_OF_A_WALK, width * height // (width_of_one * height_of_one))
    if max(recipe.get("n", 1), recipe.get("steps", 1), *lists) > most:
        raise ValueError(recipe)


def _picture(sampler: Sampler, recipe: Recipe) -> Image.Image:
    images = _images(sampler, recipe)
    if recipe.get("layout") == "grid":
        return pictures.grid(images, recipe.get("columns"))
    return pictures.picture(images[recipe.get("step", 0)])


def _images(sampler: Sampler, recipe: Recipe) -> Images:
    labels, truncation = recipe.get("labels"), recipe.get("truncation")
    if "steps" in recipe:
        return _walk(sampler, recipe)
    if "latents" in recipe:
        rows = np.array(recipe["latents"], np.float64)
        known = None
        if sampler.contract.conditional:
            known = sampler.labels(len(rows), wanted=labels)
        return sampler.run(rows, known)
    if "seeds" in recipe:
        seeds = recipe["seeds"]
        each = labels if isinstance(labels, list) else [labels] * len(seeds)
        return np.concatenate(
            [
                sampler.sample(1, seed, 0, truncation, label)
                for seed, label in zip(seeds, each, strict=True)
            ]
        )
    return sampler.sample(
        recipe.get("n", 1), recipe.get("seed", 0), recipe.get("first", 0), truncation, labels
    )


def _walk(sampler: Sampler, recipe: Recipe) -> Images:
    start, steps = recipe["start"], recipe["steps"]
    a, b = (_end(sampler, end, recipe.get("truncation")) for end in (start, recipe["end"]))
    label = sampler.labels(1, start.get("seed", 0), start.get("index", 0), recipe.get("label"))
    rows = slerp(a, b, np.linspace(0.0, 1.0, steps))
    return sampler.run(rows, None if label is None else np.repeat(label, steps))


def _end(sampler: Sampler, end: Any, truncation: float | None) -> Latents:
    if "latents" in end:
        return sampler.checked(np.array([end["latents"]]))
    dim = sampler.contract.latent_dim
    return latents(end.get("seed", 0), end.get("index", 0), 1, dim, truncation)
