"""Evaluate, report and the champion's second judgement, as stages on a project's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monge import stages
from monge.contract import Contract
from monge.data.writer import PackedWriter
from monge.errors import InputError
from monge.evaluation import document
from monge.labels import drawn
from monge.params import EvaluateParams, Params
from monge.paths import Paths
from monge.stages import judging
from tests.running import write

PARAMS = Params(
    evaluate=EvaluateParams(images=80, transport_images=20, projections=8, repeats=2, batch_size=64)
)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A project with a packed dataset and a generator."""
    paths = Paths(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (160, 3, 16, 16), dtype=np.uint8)
    with PackedWriter(paths.prepared, (3, 16, 16), []) as writer:
        writer.append("train", images[:100])
        writer.append("validation", images[100:])
        writer.finish(source={"kind": "noise"})
    paths.model.parent.mkdir()
    write(paths.model)
    return paths


@pytest.fixture
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    from monge.tracking import NullRun

    monkeypatch.setattr(judging, "tracked", lambda *_: nullcontext(NullRun("none")))


def test_evaluate_leaves_the_whole_report(paths: Paths, untracked: None) -> None:
    *lines, last = stages.evaluate(PARAMS, paths)
    table = document.table(document.read(paths.metrics))
    words, *disagreement = lines[len(table) :]
    assert lines[: len(table)] == table
    assert len(disagreement) <= 1
    assert str(paths.page) in last
    page = paths.page.read_text("utf-8")
    assert "(frechet" in words
    for path in (paths.page, paths.card, paths.comment):
        assert words in path.read_text("utf-8"), path
    assert "Not decided yet" in page
    assert "100 training and 60 held-out colour images of 16×16 pixels (noise)" in page
    assert paths.card.read_text("utf-8").startswith("---\nlibrary_name: onnx")
    assert "sliced_wasserstein_octave16" in page


def test_report_draws_it_again_and_refuses_another_files(paths: Paths, untracked: None) -> None:
    with pytest.raises(InputError, match="no report. Run `monge evaluate` first"):
        stages.report(PARAMS, paths)
    stages.evaluate(PARAMS, paths)
    before = paths.page.read_bytes()
    paths.page.unlink()
    assert stages.report(PARAMS, paths) == paths.page
    assert paths.page.read_bytes() == before
    write(paths.model, seed=1)
    with pytest.raises(InputError, match="a report of another file"):
        stages.report(PARAMS, paths)


def test_a_champion_is_judged_again_once_a_protocol(
    paths: Paths, untracked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.evaluate(PARAMS, paths)
    candidate = document.read(paths.metrics)
    champion = write(paths.root / "champion.onnx", seed=1)
    first = judging.rejudged(PARAMS, paths, champion, candidate)
    assert first["frechet"]["value"] != candidate["frechet"]["value"]
    hashes = [figures["frechet"]["protocol"]["protocol_hash"] for figures in (first, candidate)]
    assert hashes[0] == hashes[1]

    def again(*_: object) -> None:
        raise AssertionError("judged again without need")

    with monkeypatch.context() as patch:
        patch.setattr(judging, "judge", again)
        assert judging.rejudged(PARAMS, paths, champion, candidate) == first
    evaluate = PARAMS.evaluate.model_copy(update={"seed": 7})
    other = PARAMS.model_copy(update={"evaluate": evaluate})
    stages.evaluate(other, paths)
    changed = document.read(paths.metrics)
    second = judging.rejudged(other, paths, champion, changed)
    assert second["frechet"]["value"] != first["frechet"]["value"]
    (kept,) = (paths.state / "judged").iterdir()
    kept.write_text("{")
    assert judging.rejudged(other, paths, champion, changed) == second


def test_a_champion_is_judged_anew_when_the_held_out_images_are_others(
    paths: Paths, untracked: None
) -> None:
    champion = write(paths.root / "champion.onnx", seed=1)
    figures = []
    for seed in (0, 1):  # 60 held-out images, then 20 more and others to train on
        images = np.random.default_rng(seed).integers(0, 256, (180, 3, 16, 16), dtype=np.uint8)
        with PackedWriter(paths.prepared, (3, 16, 16), []) as writer:
            writer.append("train", images[:100])
            writer.append("validation", images[100 : 160 + 20 * seed])
            dataset = writer.finish(source={"kind": "noise"})
        stages.evaluate(PARAMS, paths)
        candidate = document.read(paths.metrics)
        figure = judging.rejudged(PARAMS, paths, champion, candidate)["frechet"]
        assert figure["protocol"]["dataset_hash"] == dataset.content_hash
        protocols = {each["protocol"]["protocol_hash"] for each in (figure, candidate["frechet"])}
        assert len(protocols) == 1
        figures.append(figure)
    assert figures[0]["value"] != figures[1]["value"]


def test_labels_are_the_datasets_by_the_names_of_the_classes() -> None:
    """A dataset that has gained a class numbers the others anew."""
    contract = Contract(
        latent_dim=4, image_shape=(8, 8, 1), classes=("cat", "dog"), label_shares=(0.5, 0.5)
    )
    own = drawn(7, 3, 50, (0.5, 0.5))
    asked = judging._asked(contract, ["ant", "cat", "dog"], 7)
    assert asked is not None
    assert np.array_equal(asked(3, 50), own + 1)
    assert judging._asked(contract, ["ant", "dog"], 7) is None
    without = Contract(latent_dim=4, image_shape=(8, 8, 1), classes=("cat", "dog"))
    assert judging._asked(without, ["cat", "dog"], 7) is None
