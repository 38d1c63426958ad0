"""Protects: -o means what it says: standard output, pipes, links, odd names; `| head` is fine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from tests.proxied import proxy
from tests.running import write

MONGE = Path(sys.executable).with_name("monge")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model") / "generator.onnx", seed=1)


def sample(model: Path, folder: Path, output: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [MONGE, "sample", model, "-n", "4", "-o", output], cwd=folder, capture_output=True
    )


@pytest.fixture(scope="module")
def wanted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("wanted")
    assert sample(model, folder, "x.png").returncode == 0
    return (folder / "x.png").read_bytes()


def test_a_dash_is_standard_output_and_nothing_else_is_on_it(
    model: Path, wanted: bytes, tmp_path: Path
) -> None:
    done = sample(model, tmp_path, "-")
    assert (done.returncode, done.stdout) == (0, wanted)
    assert b"4 images of seed 0 in -" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_gets_the_picture_and_stays_a_pipe(
    model: Path, wanted: bytes, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    assert sample(model, tmp_path, "pipe").returncode == 0
    reader.join(60)
    assert read == [wanted]
    assert pipe.is_fifo()


def test_a_link_is_written_through(model: Path, wanted: bytes, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "x.png").symlink_to("elsewhere/y.png")
    assert sample(model, tmp_path, "x.png").returncode == 0
    assert (tmp_path / "x.png").is_symlink()
    assert (tmp_path / "elsewhere/y.png").read_bytes() == wanted


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (".png", b"this is an ending without a name. Write name.png"),
        ("x" * 300 + ".png", b"File name too long"),
        ("x" * 300, b"File name too long"),
    ],
)
def test_a_name_that_cannot_be_is_one_line(
    model: Path, tmp_path: Path, output: str, said: bytes
) -> None:
    done = sample(model, tmp_path, output)
    assert done.returncode == 2
    assert said in done.stderr
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_needs_a_folder_or_a_picture_does_not_take_a_dash(model: Path, tmp_path: Path) -> None:
    for command in (f"sample {model} --shards webdataset -o -", "compare 1 2 -o -"):
        (tmp_path / "params.yaml").write_text("{}")
        done = subprocess.run([MONGE, *command.split()], cwd=tmp_path, capture_output=True)
        assert done.returncode == 2
        assert b"monge: -o -: " in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_a_name_as_long_as_names_may_be_is_written(model: Path, tmp_path: Path) -> None:
    name = "é" * 125 + ".png"
    assert sample(model, tmp_path, name).returncode == 0
    with Image.open(tmp_path / name) as picture:
        assert picture.format == "PNG"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("params", [".", "x" * 300])
def test_a_parameter_file_that_is_none_is_one_line(tmp_path: Path, params: str) -> None:
    done = subprocess.run(
        [MONGE, "prepare", "--params", params], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("monge: ")


def test_what_is_told_on_standard_output_tells_no_password(model: Path) -> None:
    with proxy(credentials="al:hush/hush") as server:
        server.page = model.read_bytes()
        where = server.address.replace("//", "//al:hush%2Fhush@")
        done = subprocess.run([MONGE, "inspect", f"{where}/g.onnx"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith(f"{server.address.replace('//', '//***@')}/g.onnx: ")
    assert "hush" not in done.stdout + done.stderr


def test_who_reads_only_the_beginning_stops_nothing(model: Path, tmp_path: Path) -> None:
    command = f"'{MONGE}' sample '{model}' -n 4 -o x.png | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == ("0", f"{model} runs on cpu\n")
    assert (tmp_path / "x.png").exists()
