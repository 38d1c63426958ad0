"""What is registered is the judged file to the byte, once, and is found by alias and number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from monge.errors import InputError, ModelFileError, ServiceError
from monge.registry import Registry, fetch
from monge.tracking import address, mlflow_store

Generator = Callable[[float], Path]


def test_the_registered_file_comes_back_byte_for_byte_and_mlflow_can_load_it(
    project: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = generator(2.0)
    registry = Registry(project, "digits")
    version = registry.register(model, run_key="run", tags={"dataset": "d" * 64})
    registry.set_alias("champion", version)

    fetched = fetch("models:/digits@champion", project)
    assert fetched.read_bytes() == model.read_bytes()
    assert version.model_hash == hashlib.sha256(model.read_bytes()).hexdigest()
    assert version.tags["dataset"] == "d" * 64

    client = mlflow_store.connect(project)
    assert client.get_run(version.run_id).data.tags["monge.key"] == "run"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.given(project))
    import mlflow.models
    import mlflow.onnx
    import onnx

    loaded = mlflow.onnx.load_model("models:/digits@champion")
    assert loaded.graph == onnx.load(model).graph
    signature = mlflow.models.get_model_info("models:/digits@champion").signature
    (latents,), (images,) = signature.inputs.inputs, signature.outputs.inputs
    assert (latents.name, latents.type, latents.shape) == ("latents", np.float32, (-1, 4))
    assert (images.name, images.type, images.shape) == ("images", np.uint8, (-1, 2, 2, 3))


def test_the_same_file_is_registered_once(project: Path, generator: Generator) -> None:
    registry = Registry(project, "digits")
    first = registry.register(generator(1.0), run_key="a", tags={})
    other = registry.register(generator(2.0), run_key="a", tags={})
    again = registry.register(generator(1.0), run_key="b", tags={"x": "y"})
    assert again == first != other
    assert [version.number for version in registry.versions()] == [1, 2]


def test_dying_before_the_version_leaves_nothing_and_the_next_call_completes(
    project: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(project, "digits")

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry._client, "create_model_version", dies)
        with pytest.raises(KeyboardInterrupt):
            registry.register(generator(1.0), run_key="a", tags={})
    assert registry.versions() == []
    assert registry.register(generator(1.0), run_key="a", tags={}).number == 1


def test_a_version_without_our_hash_is_not_ours(project: Path, generator: Generator) -> None:
    registry = Registry(project, "digits")
    client = mlflow_store.connect(project)
    client.create_registered_model("digits")
    client.create_model_version("digits", str(project), await_creation_for=0)
    assert registry.versions() == []
    assert registry.register(generator(1.0), run_key="a", tags={}).number == 2


def test_a_damaged_copy_is_fetched_again_and_a_damaged_original_refused(
    project: Path, generator: Generator
) -> None:
    registry = Registry(project, "digits")
    version = registry.register(generator(1.0), run_key="a", tags={})
    cached = registry.fetch(version)
    whole = cached.read_bytes()
    cached.write_bytes(whole[:-1])
    assert registry.fetch(version).read_bytes() == whole
    (original,) = (project / "mlartifacts").rglob("model.onnx")
    original.write_bytes(whole[:-1])
    assert registry.fetch(version).read_bytes() == whole  # from the copy
    cached.unlink()
    with pytest.raises(ModelFileError, match=r"models:/digits/1: .*SHA-256 differs"):
        registry.fetch(version)
    original.unlink()
    with pytest.raises(ModelFileError, match=r"models:/digits/1: .* is gone from file:"):
        registry.fetch(version)


@pytest.mark.parametrize("address", ["models:/digits", "models:/digits@", "digits@champion", ""])
def test_an_address_that_is_none_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must read models:/NAME@ALIAS or models:/NAME/NUMBER"):
        fetch(address, tmp_path)


def test_an_unknown_name_alias_or_number_is_told_what_exists(
    project: Path, generator: Generator
) -> None:
    with pytest.raises(InputError, match="it is empty"):
        fetch("models:/digits@champion", project)
    registry = Registry(project, "digits")
    version = registry.register(generator(1.0), run_key="a", tags={})
    registry.set_alias("challenger", version)
    for wrong in ("digits@champion", "digits/2"):
        with pytest.raises(InputError, match=r"digits has version 1 @challenger\.$"):
            fetch(f"models:/{wrong}", project)
    with pytest.raises(InputError, match=r"it has digits\.$"):
        fetch("models:/faces@champion", project)
    assert fetch("models:/digits/1", project) == fetch("models:/digits@challenger", project)


def test_asking_where_nothing_is_makes_no_database(tmp_path: Path, project: Path) -> None:
    with pytest.raises(InputError, match="there is no registry at"):
        fetch("models:/digits@champion", tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_a_server_that_is_away_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ServiceError, match=r"http://127\.0\.0\.1:9 does not answer: .*") as e:
        fetch("models:/digits@champion", tmp_path)
    assert "\n" not in str(e.value)


def test_what_is_no_model_is_not_registered(project: Path, tmp_path: Path) -> None:
    registry = Registry(project, "digits")
    with pytest.raises(ModelFileError, match=r"absent\.onnx: no such file"):
        registry.register(tmp_path / "absent.onnx", run_key="a", tags={})
    text = tmp_path / "text.onnx"
    text.write_text("not a model")
    with pytest.raises(ModelFileError, match=r"text\.onnx: not an ONNX file"):
        registry.register(text, run_key="a", tags={})
    assert registry.names() == []
