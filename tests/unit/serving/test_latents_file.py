"""Protects: latents are of one generator, and a file of them holds numbers and nothing else."""

import io
import zipfile

import numpy as np
import pytest

from monge.errors import InputError
from monge.serving.latents_file import LatentsFile

LATENTS = np.arange(6, dtype=np.float32).reshape(2, 3)
MADE = LatentsFile(LATENTS, "ab" * 32, ("a.png", "ü/b.png"))


@pytest.mark.parametrize("labels", [None, np.array([1, 0])])
def test_what_was_written_is_read(labels, tmp_path):
    place = tmp_path / "latents.npz"
    written = LatentsFile(LATENTS, MADE.generator, MADE.names, labels, np.array([0.1, 0.2]))
    place.write_bytes(written.to_bytes())
    found = LatentsFile.read(place)
    np.testing.assert_array_equal(found.latents, LATENTS)
    assert (found.generator, found.names) == (MADE.generator, MADE.names)
    np.testing.assert_array_equal(found.distances, [0.1, 0.2])
    if labels is None:
        assert found.labels is None
    else:
        np.testing.assert_array_equal(found.labels, labels)
    found.refuse_other(place, "ab" * 32)
    with pytest.raises(InputError, match="mean nothing to this one, cdcdcd"):
        found.refuse_other(place, "cd" * 32)


def saved(**arrays):
    data = io.BytesIO()
    np.savez(data, **arrays)
    return data.getvalue()


def bomb():
    data = io.BytesIO()
    with (
        zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("latents.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(1100):
            member.write(bytes(1 << 20))
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no file of latents"),
        (MADE.to_bytes()[:200], "no file of latents"),
        (saved(images=np.zeros(3)), "holds images"),
        (saved(latents=LATENTS, generator=np.array("x")), "no file of latents"),
        (saved(latents=LATENTS, generator=np.array("x"), names=np.array(["a"])), "one row and one"),
        (
            saved(latents=np.array([{}], object), generator=np.array("x"), names=np.array(["a"])),
            "no file of latents",
        ),
        (bomb(), "larger than 1024 MiB"),
    ],
)
def test_anything_else_is_refused_in_a_line(data, said, tmp_path):
    place = tmp_path / "latents.npz"
    place.write_bytes(data)
    with pytest.raises(InputError, match=said) as caught:
        LatentsFile.read(place)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="none.npz: cannot be read"):
        LatentsFile.read(tmp_path / "none.npz")
