"""Protects: `benchmarks/gpu.py` runs to its end without the trackers and schedulers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ALONE = """
import runpy, sys
for name in ("mlflow", "prefect", "dvc", "ray"):
    sys.modules[name] = None
sys.argv = ["benchmarks.gpu", "--tiny", "--out", sys.argv[1]]
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


@pytest.mark.timeout(300)
def test_it_measures_everything_at_tiny_sizes(tmp_path):
    file = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(file)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert report["conditions"]["tiny"]
    assert set(report["capture"]) == {"wgan", "wgan-gp", "rpgan"}
    assert all(apart < 1e-6 for apart in report["capture"].values())
    for cosines in report["precision"].values():
        assert cosines["tf32"] > 0.99
        assert cosines["bf16"] > 0.5
    cases = [case["case"] for case in report["training"]]
    assert cases == ["tiny-wgan-gp", "tiny-rpgan"]
    for case in report["training"]:
        assert set(case["contenders"]) == {"textbook", "resident", "monge"}
        assert all(f["images_per_s"] > 0 < f["memory_bytes"] for f in case["contenders"].values())
        assert 0.0 < case["busy"] <= 1.0
    assert report["sampling"]["batches"]["8"]["times_standard"] > 0
