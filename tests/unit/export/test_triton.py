"""The model repository for Triton, read by Triton's own definition of its configuration."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tritonclient
from google.protobuf import text_format

from monge import cli, stages
from monge.contract import Contract
from monge.errors import InputError
from monge.export.triton import BUCKETS, write_repository
from monge.paths import Paths
from tests.running import write


def definition() -> Any:
    """Triton's own definition of its configuration, without the gRPC that its package loads."""
    place = Path(tritonclient.__path__[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONTRACT = Contract(latent_dim=16, image_shape=(8, 8, 1))


def test_triton_reads_the_configuration(tmp_path: Path):
    folder = write_repository(b"model", CONTRACT, tmp_path, "digits-1")
    assert (folder / "1" / "model.onnx").read_bytes() == b"model"
    text = (folder / "config.pbtxt").read_text()
    config = text_format.Parse(text, definition().ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("digits-1", "onnxruntime", 64)
    assert (config.input[0].name, list(config.input[0].dims)) == ("latents", [16])
    assert (config.output[0].name, list(config.output[0].dims)) == ("images", [8, 8, 1])
    assert tuple(config.dynamic_batching.preferred_batch_size) == BUCKETS
    assert [warm.batch_size for warm in config.model_warmup] == list(BUCKETS)
    assert Contract.from_json((folder / "contract.json").read_text()) == CONTRACT


def test_a_version_is_not_written_over(tmp_path: Path):
    write_repository(b"model", CONTRACT, tmp_path, "digits")
    write_repository(b"model", CONTRACT, tmp_path, "digits")
    with pytest.raises(InputError, match="another file is there"):
        write_repository(b"other", CONTRACT, tmp_path, "digits")
    write_repository(b"other", CONTRACT, tmp_path, "digits", version=2)
    with pytest.raises(InputError, match="no name for a model"):
        write_repository(b"model", CONTRACT, tmp_path, "../digits")


def test_a_file_in_the_place_of_the_folder_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    (tmp_path / "params.yaml").write_text("{}\n")
    (tmp_path / "taken").write_text("mine")
    model = Paths(tmp_path).model
    write(model)
    parity = SimpleNamespace(word="equals", images=1, max_difference=0.0, differing_fraction=0.0)
    monkeypatch.setattr(stages, "export", lambda *_, **__: (model, parity, None))
    monkeypatch.setattr(cli, "_leave", codes.append)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["monge", "export", "--triton", "taken"])
    for name in ("stdout", "excepthook"):  # which the command replaces
        monkeypatch.setattr(sys, name, getattr(sys, name))
    cli.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("monge: taken/")
    assert line.endswith("Not a directory. Name another one.")
    assert codes == [2]
    assert (tmp_path / "taken").read_text() == "mine"
