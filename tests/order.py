"""Quick tests first, so that a wrong line is found soon; then the slow files, the longest first.

The tests of a file stay in one process: begun last, a long file would leave the other without work.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Those that take a quarter of a minute and more on two cores.
SLOW = (
    "tests/pipeline/test_stack.py",
    "tests/pipeline/test_deployments.py",
    "tests/pipeline/test_scheduled_chain.py",
    "tests/pipeline/test_killed_chain.py",
    "tests/pipeline/test_default_chain.py",
    "tests/pipeline/test_true_claims.py",
    "tests/pipeline/test_products.py",
    "tests/pipeline/test_sweep.py",
    "tests/pipeline/test_way_back.py",
    "tests/pipeline/test_lock.py",
    "tests/pipeline/test_other_images.py",
    "tests/pipeline/test_outage.py",
    "tests/pipeline/test_linked_files.py",
    "tests/unit/metrics/test_inception.py",
    "tests/faults/test_registry_server.py",
    "tests/faults/test_replicas.py",
    "tests/pipeline/test_projection.py",
    "tests/pipeline/test_data_versions.py",
    "tests/pipeline/test_made_again.py",
    "tests/unit/registry/test_moved.py",
    "tests/pipeline/test_rebuilt_run.py",
    "tests/pipeline/test_every_parameter.py",
    "tests/unit/test_gpu_benchmark.py",
    "tests/unit/cli/test_train.py",
    "tests/unit/cli/test_cli.py",
    "tests/studies/test_wgan_gp.py",
    "tests/studies/test_wgan.py",
    "tests/studies/test_unrolled.py",
    "tests/unit/training/test_code_identity.py",
    "tests/faults/test_tracking_server.py",
    "tests/faults/test_service.py",
    "tests/unit/serving/test_marks.py",
    "tests/faults/test_slow_clients.py",
    "tests/faults/test_proxies.py",
    "tests/pipeline/test_experiments.py",
    "tests/faults/test_killed_training.py",
    "tests/unit/training/test_guards.py",
    "tests/unit/training/test_needs.py",
    "tests/unit/training/test_execution.py",
    "tests/unit/objectives/test_objectives.py",
    "tests/unit/evaluation/test_two_sets.py",
    "tests/contracts/test_dvc_dependencies.py",
    "tests/contracts/test_generator_file.py",
    "tests/pipeline/test_typed_paths.py",
    "tests/pipeline/test_recipes.py",
    "tests/pipeline/test_rectangles.py",
    "tests/pipeline/test_new_data.py",
    "tests/unit/registry/test_promote.py",
    "tests/unit/evaluation/test_judge.py",
    "tests/unit/training/test_code_mutations.py",
    "tests/unit/test_signatures.py",
    "tests/unit/cli/test_outputs.py",
    "tests/studies/test_wgan.py",
    "tests/studies/test_wae.py",
    "tests/studies/test_weng.py",
    "tests/studies/test_wgan_gp.py",
    "tests/studies/test_improved_gan.py",
    "tests/studies/test_arjovsky.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the order within a file, and of the files that are not slow."""
    items.sort(key=place)


def place(item: pytest.Item) -> int:
    """Where a test's file stands: all quick ones before the first slow one."""
    name = item.path.relative_to(ROOT).as_posix() if item.path.is_relative_to(ROOT) else ""
    return SLOW.index(name) if name in SLOW else -1
