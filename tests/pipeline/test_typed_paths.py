"""Protects: a folder is the one that was typed, from `SET` through the file and DVC to the images.

`my pics #2` was `my pics`, a folder that lay beside it, through the whole chain.
"""

import json

import numpy as np
from PIL import Image

from pipelines import settings

NAMES = ("my pics #2", "12:30", "it's $HOME")


def pictures(folder, level):
    folder.mkdir()
    for number in range(4):
        pixels = np.full((8, 8), level, np.uint8)
        pixels[number, number] = 255
        Image.fromarray(pixels).save(folder / f"{number}.png")


def test_strange_names_reach_the_packed_images(project):
    pictures(project.folder / "my pics", 1)
    for level, name in enumerate(NAMES, 10):
        pictures(project.folder / name, level)
        settings.keep(["prepare.source=folder", f"prepare.path={name}"], project.folder, print)
        project.run("dvc", "repro", "--single-item", "prepare")
        prepared = project.folder / "data/prepared"
        manifest = json.loads((prepared / "manifest.json").read_text())
        assert manifest["source"]["name"] == name
        assert np.load(prepared / "train.npy").min() == level
