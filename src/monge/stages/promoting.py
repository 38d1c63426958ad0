"""The stage that gives a version its standing: promote, and what a person does about it later."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from monge.errors import InputError, MissingExtra, ServiceError
from monge.files import write_whole
from monge.params import Params
from monge.paths import Paths
from monge.stages.judging import gather_facts, rejudged, require_report_of, write_report
from monge.stages.tracking import keep_lineage, tracked

if TYPE_CHECKING:
    from monge.contract import Contract
    from monge.data.packed import PackedDataset
    from monge.evaluation.facts import Facts
    from monge.registry.promote import Promotion
    from monge.serving.sampler import Sampler

_COMPARED = 64

log = logging.getLogger(__name__)


def promote(
    params: Params, paths: Paths, *, force: str | None = None, sign: Path | None = None
) -> str:
    """Register the judged file, and make it champion if it is better than the one there is.

    It must be nearer to the real pictures than the baselines are, too, champion or none. `force` is
    a reason to make it champion whatever the gate says. A server that is away is waited for, for
    `promote.wait_s`. `sign` is the private key that signs the files. Raises InputError when the
    report is of another file.
    """
    from monge.stages.waiting import when_back

    return when_back(lambda: _promote(params, paths, force, sign), params.promote.wait_s)


def _promote(params: Params, paths: Paths, force: str | None, key_file: Path | None) -> str:
    """Do it once. It is not begun where the registry does not answer."""
    from monge.evaluation import card, verdict
    from monge.registry.conditions import Finding
    from monge.registry.kind import Kind
    from monge.registry.logged_model import CARD_FILE
    from monge.registry.models import ENCODER_FILE, Registry
    from monge.registry.promote import promote as decide
    from monge.serving.sampler import Sampler
    from monge.stages import lineage
    from monge.tracking.rebuild import rebuild

    sampler = Sampler.load(paths.model, params.evaluate.provider)
    contract = sampler.contract
    key = contract.run or sampler.model_hash[:12]
    facts = _agreed(params, paths, sampler)
    registry = Registry(paths.root, params.promote.name)
    registry.names()
    if any((paths.state / "spool").glob("*")):  # figures that waited for the server go first
        with tracked(params, paths, key):
            pass
    kept = lineage.files(params, paths, contract)
    encoder = {} if sampler.encoder is None else {ENCODER_FILE: paths.encoder.read_bytes()}
    values = {name: float(entry["value"]) for name, entry in facts.figures.items()}
    rebuild(paths, contract, key, values, params.promote.name)
    promotion = decide(
        registry,
        paths.model,
        facts.figures,
        params.promote,
        run_key=key,
        tags=_tags(params, paths, contract, encoder),
        floor=Finding(*verdict.floor(facts.figures, [c.metric for c in params.promote.conditions])),
        kind=Kind.of(contract),
        rejudge=lambda path: rejudged(params, paths, path, facts.figures),
        beside={CARD_FILE: card.card(facts).encode("utf-8"), **encoder, **lineage.beside(kept)},
        describe=lambda reason: card.comment(dataclasses.replace(facts, verdict=reason)),
        experiment=params.promote.name,
        force=force,
        signed=_signed(paths, encoder, key_file),
    )
    sentence = _sentence(promotion)
    _note_promotion(paths, sentence, facts.words, promotion, registry.run_page(promotion.version))
    write_report(gather_facts(params, paths, sampler), paths)
    with tracked(params, paths, key) as run:
        run.file(paths.page, "reports")  # with the verdict now
        keep_lineage(kept, run)
        if contract.export_revision:
            run.tags({"git.export_revision": contract.export_revision})
    return sentence


def _agreed(params: Params, paths: Paths, sampler: Sampler) -> Facts:
    """Gather what is known of a file with a report and parameters of its own. Raises InputError."""
    from monge.evaluation import document
    from monge.stages import agreement, lock_and_code

    facts = gather_facts(params, paths, sampler)
    require_report_of(facts.figures, sampler.model_hash, paths)
    agreement.require_model(params, paths, sampler.contract, agreement.prepared(params, paths))
    agreement.require_report(params, paths, document.made(paths.metrics).get("evaluate"))
    lock_and_code.require_true(paths)
    return facts


def _signed(paths: Paths, encoder: Mapping[str, bytes], key: Path | None) -> dict[str, bytes]:
    """Sign the generator file and its encoder, in the registry's names and beside the local ones.

    Beside, that is, in the folder of models: the encoder's own is an output of DVC's.
    """
    from monge import signatures
    from monge.registry.logged_model import MODEL_FILE

    if key is None:
        return {}
    files = {MODEL_FILE: paths.model.read_bytes(), **encoder}
    signed = {name: signatures.sign(data, key) for name, data in files.items()}
    for name, signature in signed.items():
        local = paths.model.name if name == MODEL_FILE else name
        write_whole(paths.model.with_name(local + signatures.ENDING), signature)
    return signed


def require_name(params: Params, paths: Paths, dataset: PackedDataset) -> None:
    """Raise InputError when the registry has the product's name for images of another kind.

    A registry that does not answer is not waited for: promotion will ask again.
    """
    from monge.tracking.run import is_switched_off

    if is_switched_off():
        return
    from monge.registry.kind import Kind, require_kind
    from monge.registry.models import Registry
    from monge.registry.names import known_names

    channels, height, width = dataset.image_shape
    kind = Kind((height, width, channels), tuple(dataset.class_names), params.train.conditional)
    try:
        if params.promote.name in known_names(paths.root):
            require_kind(Registry(paths.root, params.promote.name), kind)
    except (MissingExtra, ServiceError) as error:
        log.warning("whether the name %s is free was not checked: %s", params.promote.name, error)


def _tags(
    params: Params, paths: Paths, contract: Contract, encoder: Mapping[str, bytes]
) -> dict[str, str]:
    """Tell of a version's origin, and of its encoder, for whoever looks at the registry."""
    from monge.registry.models import ENCODER_FILE, ENCODER_TAG
    from monge.stages import lineage

    tags = {
        "monge.dataset": contract.dataset_hash or "",
        "monge.git_revision": contract.git_revision or "",
        "monge.export_revision": contract.export_revision or contract.git_revision or "",
        "monge.code": contract.code or "",
        "monge.step": str(contract.step),
        **lineage.data_tags(params, paths),
    }
    if encoder:
        tags[ENCODER_TAG] = hashlib.sha256(encoder[ENCODER_FILE]).hexdigest()
    return tags


def show(params: Params, paths: Paths, *, which: str) -> list[str]:
    """A version: where it comes from, and the commands that make it again; lines."""
    from monge.registry.compare import described
    from monge.registry.models import Registry
    from monge.stages import lineage

    registry = Registry(paths.root, params.promote.name)
    version = registry.find(which)
    place = paths.state / lineage.FOLDER / f"{version.name}-{version.number}"
    folder = registry.fetch_beside(version, lineage.FOLDER, place)
    return [
        *described(version),
        "",
        f"What brings it back is in {folder}. To make it again:",
        "",
        *(f"  {line}" for line in lineage.commands(folder, paths.root)),
    ]


def rollback(params: Params, paths: Paths, *, reason: str, to: int | None = None) -> str:
    """Make the champion before, or version `to`, champion again."""
    from monge.registry.models import Registry
    from monge.registry.rollback import rollback as go_back

    done = go_back(Registry(paths.root, params.promote.name), reason, to)
    name, now, before = done.champion.name, done.champion.number, done.before.number
    return f"{name} version {now} is champion again; version {before} is `previous` now."


def models(params: Params, paths: Paths, *, only: str = "") -> list[str]:
    """The registered versions of a name, or of every name, as a table each, the newest first."""
    from monge.registry import compare
    from monge.registry.models import Registry

    known = Registry(paths.root, params.promote.name).names()
    if only and only not in known:
        there = f"There are: {', '.join(known)}." if known else "There is none yet."
        raise InputError(f"no model is called {only}. {there}")
    if not known:
        return ["no model has a version yet. `monge promote` registers the first."]
    metrics = list(dict.fromkeys(condition.metric for condition in params.promote.conditions))
    lines: list[str] = []
    for each in [only] if only else known:
        versions = Registry(paths.root, each).versions()
        lines += ["", each] if lines else [each]
        lines += compare.listing(versions, metrics) if versions else ["  no version"]
    return lines


def compare(params: Params, paths: Paths, first: str, second: str, picture: Path) -> list[str]:
    """Two versions' figures beside each other, and images of the same latents in a picture."""
    from monge.evaluation import pictures
    from monge.registry import compare as beside
    from monge.registry.models import Registry
    from monge.serving.sampler import Sampler

    if picture.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InputError(f"-o {picture}: this is a picture; give a name that ends in .png.")
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
    """Say in a sentence who is champion now and why; a candidate beside it by its own version."""
    now, candidate = promotion.champion, promotion.version.number
    if now is None:
        return f"none. {promotion.reason}"
    told = promotion.reason
    if now.number != candidate:
        told = told.replace("Not promoted:", f"Version {candidate} is not promoted:", 1)
    return f"{now.name} version {now.number}. {told}"


def _note_promotion(
    paths: Paths, sentence: str, words: str, promotion: Promotion, page: str
) -> None:
    """Keep what was decided for the closing lines of a run."""
    champion = promotion.champion
    facts = {
        "sentence": sentence,
        "promoted": promotion.promoted,
        "words": words,
        "model_hash": promotion.version.model_hash,
        "champion": f"models:/{champion.name}@champion" if champion else str(paths.model),
        "run_page": page,
    }
    write_whole(paths.promotion, (json.dumps(facts, indent=1) + "\n").encode("utf-8"))
