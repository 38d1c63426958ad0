"""The five stages, composed here and nowhere else: (params, paths) -> result.

Each reads what the stage before left on disk and leaves its own, so that any of them can be run
alone, by hand or by DVC. Imports are inside: a stage loads what it needs and no more.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from monge.errors import CheckpointMismatch, InputError, Interrupted
from monge.files import write_whole
from monge.params import Params
from monge.paths import Paths

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from monge.data.packed import PackedDataset
    from monge.evaluation.judge import Judgement
    from monge.export.parity import Parity
    from monge.registry.promote import Promotion
    from monge.serving.sampler import Sampler
    from monge.tracking import Run
    from monge.training.loop import Outcome

log = logging.getLogger(__name__)

IfChanged = Literal["refuse", "fresh"]
_COMPARED = 64
_LOCK = "train.lock"


def prepare(params: Params, paths: Paths) -> PackedDataset:
    """Images to the packed dataset in `data/prepared`."""
    from monge.data.prepare import prepare as pack

    return pack(params.prepare, paths.root, paths.downloads, paths.prepared)


def train(
    params: Params, paths: Paths, *, fresh: bool = False, if_changed: IfChanged = "refuse"
) -> Outcome:
    """The packed dataset to checkpoints, going on from the newest one.

    `fresh` starts again; `if_changed` says what to do when the checkpoints on disk are of another
    training: refuse with the differences, or set them aside and start afresh.
    """
    from monge.data.packed import PackedDataset
    from monge.training import launch, lock, loop, resume

    if not launch.is_first():
        return _follow(params, paths)
    folder = paths.checkpoints
    with lock.exclusive(paths.state / _LOCK):
        dataset = PackedDataset.open(paths.prepared)
        afresh = fresh or (if_changed == "fresh" and resume.is_other(params.train, dataset, folder))
        resume.look_ahead(params.train, dataset, folder, afresh=afresh)
        if afresh:
            resume.set_aside(folder)
        with _run(params, paths, resume.run_key(folder)) as run:
            _describe_training(params, paths, dataset, run)
            return loop.train(params.train, dataset, folder, run)


def _follow(params: Params, paths: Paths) -> Outcome:
    """Train as one of several ranks, whose first one writes."""
    from monge.data.packed import PackedDataset
    from monge.tracking import NullRun
    from monge.training import loop

    with tempfile.TemporaryDirectory() as folder:
        dataset = PackedDataset.open(paths.prepared)
        return loop.train(params.train, dataset, Path(folder), NullRun("follower"))


def launch(params: Params, paths: Paths, *, arguments: Sequence[str]) -> int | None:
    """Where `train.devices` asks for several processes, run `monge` with `arguments` in each.

    The exit code; None where one process is enough, or this is one of several.
    """
    from monge.training import launch as several

    if not several.is_wanted(params.train.devices):
        return None
    return several.launch(params.train.devices, params.train.device, arguments)


def plan(
    params: Params, paths: Paths, *, fresh: bool = False, if_changed: IfChanged = "refuse"
) -> Iterator[str]:
    """What `train` would do and take, in lines; writes nothing and waits for no other training."""
    from monge.data.packed import PackedDataset
    from monge.training.plan import describe

    dataset = PackedDataset.open(paths.prepared)
    how: dict[str, Any] = {"fresh": fresh, "if_changed": if_changed}
    return describe(params.train, dataset, paths.checkpoints, paths.state / _LOCK, **how)


def export(params: Params, paths: Paths, *, unfinished: bool = False) -> tuple[Path, Parity]:
    """The best or last checkpoint's generator to `models/generator.onnx`, held to the network."""
    from monge.contract import Contract
    from monge.data.packed import PackedDataset
    from monge.export import parity
    from monge.export.lower import Form
    from monge.tracking import environment
    from monge.training import resume

    dataset = PackedDataset.open(paths.prepared)
    found = resume.generator(params.train, dataset, paths.checkpoints, params.export)
    if found.last_step < params.train.steps and not unfinished:
        raise CheckpointMismatch(
            f"{paths.checkpoints}: the training is at step {found.last_step} of "
            f"{params.train.steps}. Finish it with `monge train`, or export it as it is with "
            "`monge export --unfinished`."
        )
    log.info("exporting %s", found.choice)
    channels, height, width = dataset.image_shape
    contract = Contract(
        latent_dim=params.train.latent_dim,
        image_shape=(height, width, channels),
        classes=dataset.class_names,
        dataset_hash=dataset.content_hash,
        git_revision=environment(paths.root).get("git.revision"),
        run=resume.run_key(paths.checkpoints),
        step=found.step,
        weights=params.export.weights,
        parameters=params.train.model_dump(by_alias=True),
    )
    form = Form(params.export.variant, params.export.optimize_for)
    return paths.model, parity.write_checked(
        found.network, contract, paths.model, params.export.tolerance, form
    )


def triton(params: Params, paths: Paths, *, folder: Path) -> Path:
    """The exported file as a model repository for Triton; the model's folder in it."""
    from monge.export.triton import write_repository
    from monge.serving.sampler import Sampler

    contract = Sampler.load(paths.model, "cpu").contract
    return write_repository(paths.model.read_bytes(), contract, folder, params.promote.name)


def evaluate(params: Params, paths: Paths) -> list[str]:
    """The exported file to figures and pictures in `reports/`; a table of them in lines."""
    from monge.evaluation import report
    from monge.serving.sampler import Sampler
    from monge.training.history import HISTORY

    sampler = Sampler.load(paths.model, params.evaluate.provider)
    judgement = _judge(params, paths, sampler)
    report.write_report(
        judgement,
        paths.checkpoints / HISTORY,
        paths.reports,
        lambda rows, steps: _walks(sampler, params.evaluate.seed, rows, steps),
    )
    with _run(params, paths, sampler.contract.run or sampler.model_hash[:12]) as run:
        figures = {f"evaluate.{name}": f.value for name, f in judgement.figures.items()}
        run.metrics(figures, sampler.contract.step, again=True)
        run.file(paths.metrics, "reports")
        for path in sorted(paths.pictures.iterdir()):
            run.file(path, "reports/pictures")
    return report.lines(judgement)


def promote(params: Params, paths: Paths, *, force: str | None = None) -> str:
    """Register the judged file, and make it champion if it is better than the one there is.

    `force` is a reason to make it champion whatever the gate says. Raises InputError when the
    report is of another file.
    """
    from monge.evaluation import report
    from monge.registry.models import Registry
    from monge.registry.promote import promote as decide
    from monge.serving.sampler import Sampler

    provider = params.evaluate.provider
    sampler = Sampler.load(paths.model, provider)
    contract = sampler.contract
    figures = _judged_figures(paths, sampler.model_hash)
    if any((paths.state / "spool").glob("*")):  # figures that waited for the server go first
        with _run(params, paths, contract.run or sampler.model_hash[:12]):
            pass
    registry = Registry(paths.root, params.promote.name)
    promotion = decide(
        registry,
        paths.model,
        figures,
        params.promote,
        run_key=contract.run or sampler.model_hash[:12],
        tags={
            "monge.dataset": contract.dataset_hash or "",
            "monge.git_revision": contract.git_revision or "",
            "monge.step": str(contract.step),
        },
        rejudge=lambda path: report.document(_judge(params, paths, Sampler.load(path, provider))),
        experiment=params.promote.name,
        force=force,
    )
    sentence = _sentence(promotion)
    _note_promotion(paths, sentence, promotion, registry.run_page(promotion.version))
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
    import numpy as np

    from monge.registry import compare as beside
    from monge.registry.models import Registry
    from monge.serving import pictures
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
    side = math.isqrt(_COMPARED)
    halves = (images.reshape(side, side, *images.shape[1:]) for images in (left, right))
    rows = zip(*halves, strict=True)
    pictures.grid(np.concatenate([half for row in rows for half in row]), 2 * side).save(picture)
    return [*told, f"{picture}: the same latents, version {one.number} on the left"]


def _walks(sampler: Sampler, seed: int, rows: int, steps: int) -> NDArray[np.uint8]:
    """Walks between neighbouring images of a seed: uint8 [rows, steps, H, W, C]."""
    ends = sampler.latents(2 * rows, seed)
    return sampler.walk(ends[0::2], ends[1::2], steps)


def _judge(params: Params, paths: Paths, sampler: Sampler) -> Judgement:
    """Judge a generator file on the packed dataset."""
    from monge.data.packed import PackedDataset
    from monge.evaluation.judge import judge

    seed = params.evaluate.seed
    return judge(
        lambda first, count: sampler.sample(count, seed=seed, first=first),
        PackedDataset.open(paths.prepared),
        params.evaluate,
        paths.state / "features",
        generator_hash=sampler.model_hash,
    )


def _judged_figures(paths: Paths, model_hash: str) -> dict[str, Any]:
    """The report, which must be of this very file."""
    try:
        figures: dict[str, Any] = json.loads(paths.metrics.read_text(encoding="utf-8"))
        judged = {figure["protocol"][0]["generator_hash"] for figure in figures.values()}
    except FileNotFoundError:
        raise InputError(f"{paths.metrics}: no report. Run `monge evaluate` first.") from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise InputError(f"{paths.metrics}: damaged. Run `monge evaluate` again.") from None
    if judged != {model_hash}:
        raise InputError(
            f"{paths.metrics}: a report of another file than {paths.model}. "
            "Run `monge evaluate` again."
        )
    return figures


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
        "champion": f"models:/{champion.name}@champion" if champion else str(paths.model),
        "run_page": page,
    }
    write_whole(paths.promotion, (json.dumps(facts, indent=1) + "\n").encode("utf-8"))


@contextmanager
def _run(params: Params, paths: Paths, key: str) -> Iterator[Run]:
    """The tracked run of a training, closed with the status that the stage ends in."""
    from monge.tracking import open_run

    run = open_run(key, root=paths.root, state=paths.state, experiment=params.promote.name)
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except (Interrupted, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        run.close(status)


def _describe_training(params: Params, paths: Paths, dataset: PackedDataset, run: Run) -> None:
    """Parameters, environment and lineage of the data, as a run's first entries."""
    from monge.tracking import environment

    sections = params.model_dump(by_alias=True, include={"prepare", "train"})
    run.params({f"{stage}.{key}": v for stage, keys in sections.items() for key, v in keys.items()})
    run.tags({**environment(paths.root), **_data_version(paths)})
    details = {
        "source": params.prepare.source,
        "train": len(dataset.train),
        "validation": len(dataset.validation),
        "image_shape": list(dataset.image_shape),
        "classes": len(dataset.class_names),
    }
    run.dataset(params.prepare.source, dataset.content_hash, details)


def _data_version(paths: Paths) -> dict[str, str]:
    """The hash under which DVC keeps the packed dataset, where DVC has seen it."""
    import yaml

    try:
        lock = yaml.safe_load((paths.root / "dvc.lock").read_text(encoding="utf-8"))
        outs = lock["stages"]["prepare"]["outs"]
        return {"dvc.data/prepared": str(outs[0]["md5"])}
    except (OSError, yaml.YAMLError, KeyError, TypeError, IndexError):
        return {}
