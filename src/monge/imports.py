"""Imports of large packages without the garbage collector, for processes that are our own.

torch, MLflow and Prefect's server each make some hundred thousand objects that stay for as long as
the process does. Meanwhile the collector looks through all of them several times over and finds
nothing, which is a sixth of the time that they take; later, and at the end, it does so again.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

LARGE = frozenset(
    ("torch", "torchvision", "mlflow", "prefect", "dvc", "pandas", "scipy", "sklearn", "onnx")
)
MANY = 20_000
"""Objects from which on what an import has made is no longer looked through."""


def uncollected() -> None:
    """From now on import `LARGE` packages so in this process."""
    if not any(isinstance(finder, _Uncollected) for finder in sys.meta_path):
        sys.meta_path.insert(sys.meta_path.index(PathFinder), _Uncollected())


class _Uncollected(MetaPathFinder):
    """Finds what `PathFinder` finds; what is imported from inside it is imported as ever."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in LARGE or not gc.isenabled():
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_uncollected(module: ModuleType) -> None:
            gc.disable()
            try:
                load(module)
            finally:
                if gc.get_count()[0] > MANY:
                    gc.freeze()
                gc.enable()

        # On this one loader, which is this module's alone; mypy knows methods of classes only.
        spec.loader.exec_module = load_uncollected  # type: ignore[method-assign]
        return spec
