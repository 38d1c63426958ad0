"""Lists the studies in the order of their papers; a row is found by its script's name."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path

from monge.errors import InputError
from studies.study import Conditions, Finding, Study

NAMES = (
    "wgan/parallel_lines",
    "wgan/two_gaussians",
    "wgan/momentum",
    "wgan/loss_and_quality",
    "wgan/robustness",
    "wgan_gp/value_surfaces",
    "wgan_gp/gradient_norms",
    "wgan_gp/overfitting",
    "wgan_gp/architectures",
    "wgan_gp/language",
    "wgan_gp/speed",
    "improved_gan/techniques",
    "goodfellow/optimal_discriminator",
    "weng/divergences",
    "weng/piles",
    "weng/descent_ascent",
    "weng/sprites",
    "irpan/duality",
    "ipm/classes",
    "unrolled/ring",
    "wae/table",
    "arjovsky/vanishing_gradient",
)
"""Each is the path of a script here, without its ending."""


def told(name: str) -> Study:
    """Read what a script says of itself, without running it: its imports take seconds."""
    source = _path(name).read_text(encoding="utf-8")
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "STUDY":
            call = statement.value
            assert isinstance(call, ast.Call), f"{name}: STUDY = Study(...)"
            return Study(**{str(word.arg): ast.literal_eval(word.value) for word in call.keywords})
    raise LookupError(f"{name}: no STUDY")


def work_of(name: str) -> Callable[[Conditions], Finding]:
    """The function that does a study's work."""
    module = importlib.import_module(f"studies.{name.replace('/', '.')}")
    work: Callable[[Conditions], Finding] = module.study
    return work


def found(asked: str) -> str:
    """The study that somebody names, in whole or by its script alone. Raises InputError."""
    name = asked.removeprefix("studies/").removesuffix(".py").replace(".", "/")
    fitting = [one for one in NAMES if name in (one, one.partition("/")[2])]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise InputError(f"{asked}: there are {' and '.join(fitting)}. Name one of them in whole.")
    raise InputError(f"{asked}: no such study. `python -m studies` lists them.")


def _path(name: str) -> Path:
    return Path(__file__).parent / f"{name}.py"
