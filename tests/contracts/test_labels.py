"""Protects: labels that nobody chose are the same in every language, as their page says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from monge.labels import drawn
from monge.normals import philox

HERE = Path(__file__).parent
PUBLISHED = json.loads((HERE / "labels.json").read_text())
PAGE = HERE.parents[1] / "docs" / "reference" / "latents.md"


def as_the_page_says(seed: int, index: int) -> int:
    counter = (0, index % 2**32, index // 2**32, 1)
    place = (int(philox(counter, (seed % 2**32, seed // 2**32))[0]) + 0.5) / 2**32
    end = 0.0
    for label, share in enumerate(PUBLISHED["shares"]):
        end += share
        if place < end:
            return label
    raise AssertionError("the shares add up to one here")


@pytest.mark.parametrize("case", PUBLISHED["cases"], ids=lambda case: case["seed"])
def test_the_published_labels_are_drawn_in_python_and_as_the_page_says(case):
    seed, first, labels = int(case["seed"]), int(case["first"]), case["labels"]
    assert drawn(seed, first, len(labels), PUBLISHED["shares"]).tolist() == labels
    assert [as_the_page_says(seed, first + i) for i in range(len(labels))] == labels


@pytest.mark.parametrize("case", PUBLISHED["cases"], ids=lambda case: case["seed"])
def test_javascript_draws_the_same_labels(case):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here")
    command = [node, str(HERE / "labels.mjs"), case["seed"], case["first"]]
    command += [str(len(case["labels"])), *map(str, PUBLISHED["shares"])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=True)
    assert [int(label) for label in done.stdout.split()] == case["labels"]


def test_the_page_shows_the_labels_of_the_first_case():
    found = re.search(r"images 0 to 11 of seed 7 have the labels ([\d ]+);", PAGE.read_text())
    assert found is not None
    assert [int(label) for label in found[1].split()] == PUBLISHED["cases"][0]["labels"]
