"""The stage that gives a version its standing: promote, and what a person does about it later."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from monge.files import write_whole
from monge.params import Params
from monge.paths import Paths
from monge.stages.judging import gather_facts, rejudged, require_report_of, write_report
from monge.stages.tracking import tracked

if TYPE_CHECKING:
    from monge.registry.promote import Promotion

_COMPARED = 64


def promote(params: Params, paths: Paths, *, force: str | None = None) -> str:
    """Register the judged file, and make it champion if it is better than the one there is.

    `force` is a reason to make it champion whatever the gate says. Raises InputError when the
    report is of another file.
    """
    from monge.evaluation.card import card, comment
    from monge.registry.models import Registry
    from monge.registry.promote import promote as decide
    from monge.serving.sampler import Sampler

    sampler = Sampler.load(paths.model, params.evaluate.provider)
    contract = sampler.contract
    facts = gather_facts(params, paths, sampler)
    require_report_of(facts.figures, sampler.model_hash, paths)
    if any((paths.state / "spool").glob("*")):  # figures that waited for the server go first
        with tracked(params, paths, contract.run or sampler.model_hash[:12]):
            pass
    registry = Registry(paths.root, params.promote.name)
    promotion = decide(
        registry,
        paths.model,
        facts.figures,
        params.promote,
        run_key=contract.run or sampler.model_hash[:12],
        tags={
            "monge.dataset": contract.dataset_hash or "",
            "monge.git_revision": contract.git_revision or "",
            "monge.step": str(contract.step),
        },
        rejudge=lambda path: rejudged(params, paths, path, facts.figures),
        card=card(facts),
        describe=lambda reason: comment(dataclasses.replace(facts, verdict=reason)),
        experiment=params.promote.name,
        force=force,
    )
    sentence = _sentence(promotion)
    _note_promotion(paths, sentence, promotion, registry.run_page(promotion.version))
    write_report(gather_facts(params, paths, sampler), paths)
    with tracked(params, paths, contract.run or sampler.model_hash[:12]) as run:
        run.file(paths.page, "reports")  # with the verdict now
    return sentence


def rollback(params: Params, paths: Paths, *, reason: str, to: int | None = None) -> str:
    """Make the champion before, or version `to`, champion again."""
    from monge.registry.models import Registry
    from monge.registry.rollback import rollback as go_back

    done = go_back(Registry(paths.root, params.promote.name), reason, to)
    name, now, before = done.champion.name, done.champion.number, done.before.number
    return f"{name} version {now} is champion again; version {before} is `previous` now."


def models(params: Params, paths: Paths) -> list[str]:
    """The registered versions, newest first, as the lines of a table."""
    from monge.registry import compare
    from monge.registry.models import Registry

    versions = Registry(paths.root, params.promote.name).versions()
    if not versions:
        return [f"{params.promote.name} has no version yet. `monge promote` registers the first."]
    metrics = [condition.metric for condition in params.promote.conditions]
    return compare.listing(versions, list(dict.fromkeys(metrics)))


def compare(params: Params, paths: Paths, first: str, second: str, picture: Path) -> list[str]:
    """Two versions' figures beside each other, and images of the same latents in a picture."""
    from monge.evaluation import pictures
    from monge.registry import compare as beside
    from monge.registry.models import Registry
    from monge.serving.sampler import Sampler

    registry = Registry(paths.root, params.promote.name)
    one, two = (registry.find(which) for which in (first, second))
    told = beside.lines(one, two)
    left, right = (
        Sampler.load(registry.fetch(version), params.evaluate.provider).sample(_COMPARED)
        for version in (one, two)
    )
    if left.shape != right.shape:
        return [*told, "no picture: their images have other shapes"]
    errors = {d.metric: d.errors for d in beside.compare(one, two) if d.errors is not None}
    pictures.beside(left, right, errors, picture)
    return [*told, f"{picture}: the same latents, version {one.number} on the left"]


def _sentence(promotion: Promotion) -> str:
    """Who is champion now and why, in one sentence."""
    now = promotion.champion
    standing = f"{now.name} version {now.number}" if now else "none"
    return f"{standing}. {promotion.reason}"


def _note_promotion(paths: Paths, sentence: str, promotion: Promotion, page: str) -> None:
    """Keep what was decided for the closing lines of a run."""
    champion = promotion.champion
    facts = {
        "sentence": sentence,
        "model_hash": promotion.version.model_hash,
        "champion": f"models:/{champion.name}@champion" if champion else str(paths.model),
        "run_page": page,
    }
    write_whole(paths.promotion, (json.dumps(facts, indent=1) + "\n").encode("utf-8"))
