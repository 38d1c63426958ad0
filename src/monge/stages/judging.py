"""The stage that judges the exported file, and the report of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from monge.errors import InputError
from monge.files import deliver, write_whole
from monge.labels import drawn
from monge.params import Params
from monge.paths import Paths
from monge.stages.steady import steady
from monge.stages.tracking import tracked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from monge.contract import Contract
    from monge.evaluation.by_encoder import Way
    from monge.evaluation.evidence import Asked
    from monge.evaluation.facts import Facts
    from monge.evaluation.judge import Judgement
    from monge.serving.sampler import Sampler

log = logging.getLogger(__name__)


def evaluate(params: Params, paths: Paths) -> list[str]:
    """The exported file to figures and pictures in `reports/`; a table of them in lines."""
    with steady(paths.model, paths.prepared):
        return _evaluate(params, paths)


def _evaluate(params: Params, paths: Paths) -> list[str]:
    from monge.evaluation import document, report_files
    from monge.objectives import watch_of
    from monge.serving.sampler import Sampler
    from monge.stages import agreement
    from monge.tracking.rebuild import rebuild
    from monge.training.watch.history import HISTORY

    sampler = Sampler.load(paths.model, params.evaluate.provider)
    dataset = agreement.prepared(params, paths)
    agreement.require_model(params, paths, sampler.contract, dataset)
    judgement = judge(params, paths, sampler)
    report_files.write(
        judgement,
        report_files.Curve(paths.checkpoints / HISTORY, watch_of(params.train).headline.label),
        paths.reports,
        lambda rows, steps: _walks(sampler, params.evaluate.seed, rows, steps),
        {"evaluate": params.evaluate.model_dump(by_alias=True), "generator": sampler.model_hash},
    )
    facts = gather_facts(params, paths, sampler)
    page = write_report(facts, paths)
    key = sampler.contract.run or sampler.model_hash[:12]
    values = {name: figure.value for name, figure in judgement.figures.items()}
    with tracked(params, paths, key) as run:
        figures = {f"evaluate.{name}": value for name, value in values.items()}
        run.metrics(figures, sampler.contract.step, again=True)
        for path in (paths.metrics, page, paths.card):
            run.file(path, "reports")
        for path in sorted(paths.pictures.iterdir()):
            run.file(path, "reports/pictures")
    if run.run_id() is not None:  # the server answers
        rebuild(paths, sampler.contract, key, values, params.promote.name)
    told = [said for said in (facts.words, facts.disagreement) if said]
    return [*document.table(facts.figures), *told, f"{page}: all of it, with pictures"]


def report(params: Params, paths: Paths) -> Path:
    """The page, the card and the comment anew, from what evaluate and promote left; the page."""
    from monge.serving.sampler import Sampler

    sampler = Sampler.load(paths.model, params.evaluate.provider)
    facts = gather_facts(params, paths, sampler)
    require_report_of(facts.figures, sampler.model_hash, paths)
    return write_report(facts, paths)


def require_report_of(figures: Mapping[str, Any], model_hash: str, paths: Paths) -> None:
    """Raise InputError unless the figures are of this very file."""
    if {entry["protocol"]["generator_hash"] for entry in figures.values()} != {model_hash}:
        raise InputError(
            f"{paths.metrics}: a report of another file than {paths.model}. "
            "Run `monge evaluate` again."
        )


def gather_facts(params: Params, paths: Paths, sampler: Sampler) -> Facts:
    """Read what the report tells from the project's files."""
    from monge.evaluation.facts import gather

    parameters = params.model_dump(by_alias=True, mode="json")
    name = params.promote.name
    return gather(paths, name, sampler.contract, sampler.model_hash, parameters)


def write_report(facts: Facts, paths: Paths) -> Path:
    """Write report.html, report.md and MODEL_CARD.md; the page."""
    from monge.evaluation.card import card, comment
    from monge.evaluation.page import page

    for path, text in (
        (paths.page, page(facts)),
        (paths.comment, comment(facts)),
        (paths.card, card(facts)),
    ):
        write_whole(path, text.encode("utf-8"))
    return paths.page


def _walks(sampler: Sampler, seed: int, rows: int, steps: int) -> NDArray[np.uint8]:
    """Walks between neighbouring images of a seed: uint8 [rows, steps, H, W, C]."""
    ends, labels = sampler.latents(2 * rows, seed), sampler.labels(2 * rows, seed)
    starting = None if labels is None else labels[0::2]
    return sampler.walk(ends[0::2], ends[1::2], steps, starting)


def judge(params: Params, paths: Paths, sampler: Sampler) -> Judgement:
    """Judge a generator file on the packed dataset."""
    from monge.data.packed import PackedDataset
    from monge.evaluation.judge import judge as decide

    seed, dataset = params.evaluate.seed, PackedDataset.open(paths.prepared)
    return decide(
        lambda first, count: sampler.sample(count, seed=seed, first=first),
        dataset,
        params.evaluate,
        paths.state / "features",
        generator_hash=sampler.model_hash,
        labels=_asked(sampler.contract, dataset.class_names, seed),
        way=_way(sampler),
    )


def _way(sampler: Sampler) -> Way | None:
    """There and back, where the generator file has an encoder beside it."""
    from monge.evaluation.by_encoder import Way

    if sampler.encoder is None:
        return None
    conditional = sampler.contract.conditional
    return Way(
        sampler.encode, lambda codes, labels: sampler.run(codes, labels if conditional else None)
    )


def _asked(contract: Contract, names: Sequence[str], seed: int) -> Asked | None:
    """The labels that a conditional generator gives the images of a seed, as the dataset has them.

    None where the dataset lacks one of its classes: it has others than the generator was made for.
    """
    if not contract.conditional or not set(contract.classes) <= set(names):
        return None
    numbers = np.array([names.index(name) for name in contract.classes])
    return lambda first, count: numbers[drawn(seed, first, count, contract.label_shares)]


def rejudged(
    params: Params, paths: Paths, model: Path, candidate: Mapping[str, Any]
) -> dict[str, Any]:
    """Another file's figures by the protocols of the candidate's.

    The last such judgement is kept by the file's hash, and taken where its protocols are the same.
    """
    from monge.evaluation import by_encoder, by_labels, document
    from monge.serving.sampler import Sampler

    sampler = Sampler.load(model, params.evaluate.provider)
    kept = paths.state / "judged" / f"{sampler.model_hash}.json"
    with suppress(InputError):  # none yet, or a damaged one
        known = document.read(kept)
        wanted = _protocols(candidate)
        for name in (*by_encoder.NAMES, *(() if sampler.contract.conditional else by_labels.NAMES)):
            wanted.pop(name, None)  # it can have none
        if _protocols(known).items() >= wanted.items():
            return known
    log.info("judging %s by the candidate's protocol", sampler.model_hash[:12])
    figures = document.entries(judge(params, paths, sampler).figures)
    write_whole(kept, document.to_bytes(figures))
    return figures


def _protocols(figures: Mapping[str, Any]) -> dict[str, str]:
    return {name: entry["protocol"]["protocol_hash"] for name, entry in figures.items()}


def metrics(
    params: Params,
    paths: Paths,
    *,
    first: str,
    second: str,
    size: int | str | None = None,
    colour: str | None = None,
    output: Path | None = None,
) -> list[str]:
    """Two sets of images compared, as the lines of a table; with their protocols in `output`.

    Each is a folder or archive of images, a packed dataset, or a generator; the second one is the
    reference. `size` and `colour` are those of the packed images, where no side has any of its own.
    """
    from monge.evaluation import document
    from monge.evaluation.two_sets import compare_sets
    from monge.stages.image_sets import opened

    with opened(params, paths, first, second, size, colour) as (made, real, look, origin):
        figures = document.entries(compare_sets(made, real, look, params.evaluate, origin))
    if output is not None:
        deliver(output, document.to_bytes(figures))
    return document.table(figures)
