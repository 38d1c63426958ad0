"""A generator file as an MLflow model: its own bytes, with a signature read from the file."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from monge.errors import ModelFileError

MODEL_FILE = "model.onnx"
CARD_FILE = "MODEL_CARD.md"


def log_model(
    client: Any, run_id: str, model: Path, beside: Mapping[str, bytes]
) -> tuple[str, str]:
    """Log the file's own bytes, and others beside them, as an MLflow model of the run.

    Where it is, and its id.
    """
    with warnings.catch_warnings(action="ignore"):  # MLflow warns of its own types on import
        import mlflow.onnx
        import mlflow.pyfunc  # loaded by mlflow.onnx only when it is used
    import onnx
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    try:
        proto = onnx.load(model)
    except Exception as error:  # protobuf's own errors share no base
        raise ModelFileError(f"{model}: is not an ONNX model. Run monge export again.") from error
    experiment_id = client.get_run(run_id).info.experiment_id
    _give_up_pending(client, experiment_id, run_id)
    logged = client.create_logged_model(experiment_id, name="generator", source_run_id=run_id)
    where = logged.artifact_location
    described = Model(
        artifact_path=where, run_id=run_id, model_uuid=logged.model_id, model_id=logged.model_id
    )
    with _finished(client, logged.model_id), tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "model"
        mlflow.onnx.save_model(
            proto,
            local,
            mlflow_model=described,
            signature=_signature(proto),
            save_as_external_data=False,
            pip_requirements=["onnx", "onnxruntime"],
        )
        # MLflow writes the model anew; what was judged is what ships, to the byte.
        shutil.copyfile(model, local / MODEL_FILE)
        for name, data in beside.items():
            (local / name).parent.mkdir(parents=True, exist_ok=True)
            (local / name).write_bytes(data)
        client.log_model_artifacts(logged.model_id, str(local))
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return str(where), str(logged.model_id)


@contextmanager
def _finished(client: Any, model_id: str) -> Iterator[None]:
    """Say of a logged model how its files ended: READY, or FAILED where they could not be sent."""
    try:
        yield
    except BaseException:
        with suppress(Exception):  # a server that is away now is told by the next promotion
            client.finalize_logged_model(model_id, "FAILED")
        raise
    client.finalize_logged_model(model_id, "READY")


def _give_up_pending(client: Any, experiment_id: str, run_id: str) -> None:
    """Mark what an earlier promotion of this run could neither finish nor give up."""
    for left in client.search_logged_models([experiment_id]):
        if left.source_run_id == run_id and str(left.status) == "PENDING":
            client.finalize_logged_model(left.model_id, "FAILED")


def _signature(proto: Any) -> Any:
    """MLflow's signature from the file's own inputs and outputs; a free dimension is -1."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec
    from onnx import helper

    def schema(values: Any) -> Any:
        specs: list[Any] = []
        for value in values:
            tensor = value.type.tensor_type
            shape = tuple(
                item.dim_value if item.HasField("dim_value") else -1 for item in tensor.shape.dim
            )
            kind = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
            specs.append(TensorSpec(kind, shape, value.name))
        return Schema(specs)

    return ModelSignature(schema(proto.graph.input), schema(proto.graph.output))
