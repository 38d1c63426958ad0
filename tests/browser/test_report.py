"""The report in a real browser: whole, without a network, on a phone, in the dark, on paper."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_digits

from monge.contract import Contract
from monge.data.writer import PackedWriter
from monge.evaluation import by_encoder, document, report_files
from monge.evaluation.card import card, comment
from monge.evaluation.catalogue import CATALOGUE
from monge.evaluation.facts import UNDECIDED, Facts
from monge.evaluation.judge import judge
from monge.evaluation.page import page as draw
from monge.params import EvaluateParams, TrainParams


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Of a generator that draws noisy training images."""
    folder = tmp_path_factory.mktemp("judged")
    digits = load_digits()
    pixels = np.rint(digits.images * 255 / 16).astype(np.uint8)[:, None]
    with PackedWriter(folder / "prepared", (1, 8, 8), [str(n) for n in range(10)]) as writer:
        writer.append("train", pixels[:1400], digits.target[:1400].astype(np.int64))
        writer.append("validation", pixels[1400:], digits.target[1400:].astype(np.int64))
        dataset = writer.finish(source={"kind": "digits"})

    def sample(first: int, count: int) -> np.ndarray:
        noise = np.random.default_rng(first).normal(0, 20, (count, 8, 8, 1))
        chosen = np.arange(first, first + count) % 1400
        return np.clip(pixels[chosen].transpose(0, 2, 3, 1) + noise, 0, 255).astype(np.uint8)

    params = EvaluateParams(images=300, transport_images=60, projections=16, repeats=3)
    judgement = judge(sample, dataset, params, folder / "cache", generator_hash="ab" * 32)
    (folder / "history.csv").write_text(
        "step,headline\n" + "".join(f"{n},{3 / n}\n" for n in range(1, 60))
    )
    walks = judgement.samples[:60].reshape(6, 10, 8, 8, 1)
    curve = report_files.Curve(folder / "history.csv", "Wasserstein estimate (critic units)")
    report_files.write(judgement, curve, folder / "reports", lambda rows, steps: walks)
    pictures = (folder / "reports/pictures").glob("*.png")
    return Facts(
        name="digits",
        model_hash="ab" * 32,
        model_bytes=201_000,
        contract=Contract(
            latent_dim=64, image_shape=(8, 8, 1), step=4000, dataset_hash=dataset.content_hash,
            git_revision="c" * 40, run="r1", parameters=TrainParams().model_dump(by_alias=True),
        ),
        source="digits",
        counts={"train": 1400, "validation": 397},
        figures=document.read(folder / "reports/metrics.json"),
        pictures={path.name: path.read_bytes() for path in pictures},
        verdict="digits version 2. Promoted: frechet 1.6 ± 0.1 against the champion's 2.9 ± 0.1.",
        parameters={"evaluate": params.model_dump()},
        cost={"seconds": 151.0, "joules": 7200.0},
    )  # fmt: skip


@pytest.fixture
def shown(facts: Facts, page: Any, tmp_path: Path) -> Any:
    path = tmp_path / "report.html"
    path.write_text(draw(facts), encoding="utf-8")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_every_figure_and_every_picture_is_there(shown: Any, facts: Facts) -> None:
    names = shown.locator("td code").all_inner_texts()
    assert names == list(facts.figures)
    others = {"fid", "kid", "inception_score", "label_accuracy", *by_encoder.NAMES}
    assert set(names) == {name for name in CATALOGUE if "octave" not in name} - others
    pictures = shown.locator("img")
    of_encoders = {report_files.RECONSTRUCTIONS, report_files.IMAGE_WALKS, report_files.POSTERIOR}
    assert pictures.count() == len(set(report_files.FILES) - of_encoders)
    for number in range(pictures.count()):
        assert pictures.nth(number).evaluate("image => image.naturalWidth") > 100
        assert pictures.nth(number).get_attribute("alt")
    said = shown.locator("body").inner_text()
    for text in (
        facts.verdict, "1,400 training and 397 held-out grey images of 8×8 pixels (digits)",
        "1,280,000", "2 min 31 s", "0.002 kWh", "Trained at git revision " + "c" * 40 + ".",
        "real images",
    ):  # fmt: skip
        assert text in said, text
    shown.get_by_text("Protocol of each figure").click()
    assert "extractor_hash" in shown.locator("body").inner_text()


def test_a_phone_scrolls_down_only(shown: Any) -> None:
    shown.set_viewport_size({"width": 360, "height": 700})
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360


def test_it_is_dark_in_the_dark_and_plain_on_paper(shown: Any) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light = shown.evaluate(colour)
    shown.emulate_media(color_scheme="dark")
    assert shown.evaluate(colour) != light
    assert "invert" in shown.locator("img.chart").first.evaluate("i => getComputedStyle(i).filter")
    shown.emulate_media(media="print", color_scheme="light")
    assert not shown.locator("details").first.is_visible()
    assert len(shown.pdf()) > 20_000


def test_names_from_outside_are_text(facts: Facts) -> None:
    nasty = "<script>alert(1)</script>"
    page = draw(
        dataclasses.replace(facts, name=nasty, verdict=nasty, source=nasty, parameters={"x": nasty})
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4


def test_a_poor_report_says_what_is_missing(facts: Facts) -> None:
    bare = dataclasses.replace(facts, cost={}, pictures={}, verdict=UNDECIDED)
    page = draw(bare)
    assert "Not decided yet: `monge promote` asks the gate." in page
    assert "not measurable here" in page
    assert "<img" not in page


def test_the_card_begins_with_what_hubs_read_and_its_code_is_right(facts: Facts) -> None:
    text = card(facts)
    _, front, body = text.split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["library_name"] == "onnx"
    (result,) = metadata["model-index"][0]["results"]
    named = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert named["frechet"] == facts.figures["frechet"]["value"]
    assert "standard_normal((64, 64), np.float32)" in body
    assert "uint8 [64, 8, 8, 1]" in body
    assert all(f"| `{name}` |" in body for name in facts.figures)
    assert re.search(r"held-out one in \d+% of cases", body)


def test_the_comment_fits_a_pull_request(facts: Facts) -> None:
    text = comment(facts)
    assert facts.verdict in text
    assert "| `frechet` |" in text
    assert len(text) < 3000
