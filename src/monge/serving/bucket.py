"""One size of batches, bound to memory on the device that draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.serving.shares import Feeds, Images

_TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(uint8)": np.uint8}
_NO_GRAPH = "-1"  # what `gpu_graph_id` has to be for a run that neither records nor replays


class Bucket:
    """One batch size: inputs and output in memory on the device whose addresses never change."""

    def __init__(self, runtime: Any, session: Any, size: int, device: str, graph: int) -> None:
        self.size, self.replays = size, False
        self._session, self._binding = session, session.io_binding()
        self._options = {replays: runtime.RunOptions() for replays in (False, True)}
        self._options[False].add_run_config_entry("gpu_graph_id", _NO_GRAPH)
        self._options[True].add_run_config_entry("gpu_graph_id", str(graph))
        self._inputs: dict[str, tuple[NDArray[Any], Any]] = {}
        make = runtime.OrtValue.ortvalue_from_shape_and_type
        for tensor in session.get_inputs():
            rows = np.zeros([size, *tensor.shape[1:]], _TYPES[tensor.type])
            value = make(rows.shape, rows.dtype.type, device)
            self._binding.bind_ortvalue_input(tensor.name, value)
            self._inputs[tensor.name] = rows, value
        (output,) = session.get_outputs()
        self._output = make([size, *output.shape[1:]], _TYPES[output.type], device)
        self._binding.bind_ortvalue_output(output.name, self._output)
        self._shared = device == "cpu"  # its memory is what `numpy` gives, not a copy

    def draw(self, feeds: Feeds) -> Images:
        """Images of at most `size` rows, the rest of the batch being zeros."""
        count = 0
        for name, (padded, value) in self._inputs.items():
            count = len(feeds[name])
            padded[:count], padded[count:] = feeds[name], 0
            value.update_inplace(padded)
        self._session.run_with_iobinding(self._binding, self._options[self.replays])
        images: Images = self._output.numpy()[:count]
        return images.copy() if self._shared else images

    def probe(self, labels: int) -> Feeds:
        """A full batch of rows that differ, and one label after the other."""
        return {
            name: np.linspace(-1, 1, rows.size, dtype=rows.dtype).reshape(rows.shape)
            if rows.dtype.kind == "f"
            else (np.arange(rows.size) + 1).reshape(rows.shape) % max(labels, 1)
            for name, (rows, _) in self._inputs.items()
        }
