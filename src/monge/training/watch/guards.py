"""Guards: a training that has gone wrong says so within minutes, and none of it is kept.

The device is read once every `log_every` steps, at the sample grids and before a checkpoint;
nothing waits for it in between. (On a CPU, where there is nothing to wait for, a loss that is not
finite is seen in the iteration that made it.) No guard changes a training that is well by a bit.
"""

from __future__ import annotations

import functools
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from monge.data.batches import normalise
from monge.data.packed import Split
from monge.errors import Diverged, StorageError, TrainingError
from monge.files import write_whole
from monge.objectives import watch_of
from monge.training import labels
from monge.training.checkpoints import checkpoint
from monge.training.context import Training
from monge.training.state import TrainingState
from monge.training.watch import diagnosis

DIVERGENCE = "divergence.json"
"""Beside the checkpoints: from which step on the learning rate is halved."""

ALIKE = 0.02
"""Share of the training images' mean distance. Slow starts linger at 4%, a collapse is at 0."""

DIVERSITY_IMAGES = 64

Result = TypeVar("Result")
Train = Callable[[Training], Result]

log = logging.getLogger(__name__)


class Guards:
    """Watches one training. A trouble must last `train.guards.patience` steps before it is one."""

    def __init__(self, training: Training) -> None:
        self.train, self.run = training.params, training.run
        self.watching = watch_of(training.params)
        self._halved_from = _halved_from(training.folder)
        self._dataset, self._images = training.dataset, training.dataset.train
        self._seen: dict[str, tuple[int, float]] = {}  # since which step, and its size then
        self._warned: set[str] = set()
        self._weights_before: list[Tensor] = []
        self._last_finite = ""

    def rate_factor(self, step: int) -> float:
        """Give the factor of the learning rate at `step`: half from a divergence on."""
        return 0.5 if self._halved_from is not None and step >= self._halved_from else 1.0

    def watch(self, state: TrainingState, readings: Mapping[str, Tensor]) -> None:
        """After each iteration: look at what is due.

        Raises Diverged when a number is not finite, TrainingError for a trouble that
        `train.guards` lets fail; the others are logged and tagged.
        """
        last = state.step == self.train.steps
        if state.noise.device.type == "cpu":  # where reading a number waits for nothing
            self._refuse_non_finite(state.step, {n: float(v) for n, v in readings.items()})
        if state.step % self.train.log_every == 0 or last:
            self._look(state, readings)
        if state.step % self.train.grid_every == 0 or last:
            self._compare_diversity(state)

    def check_finite(self, state: TrainingState) -> None:
        """Before a checkpoint: raises Diverged unless all that it would hold is finite."""
        sizes = _read({name: _largest(tensors) for name, tensors in _parts(state).items()})
        self._refuse_non_finite(state.step, sizes)

    def _look(self, state: TrainingState, readings: Mapping[str, Tensor]) -> None:
        figures = _read({**readings, **_sizes(state.networks)})
        self._refuse_non_finite(state.step, figures)
        listed = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
        self._last_finite = f"step {state.step}: {listed}"
        self._look_at_figures(state.step, figures)
        self._look_at_generator(state, figures["generator_gradient"])

    def _look_at_figures(self, step: int, figures: Mapping[str, float]) -> None:
        shape, patience = self._images.shape[1:], self.train.guards.patience
        for trouble in self.watching.troubles(figures, shape, patience):
            if self._lasts(trouble.name, trouble.seen, step, trouble.size):
                self._report(trouble.name, step, trouble.sentence)

    def _look_at_generator(self, state: TrainingState, gradient: float) -> None:
        weights = [weight.detach() for weight in state.networks["generator"].parameters()]
        before = self._weights_before
        still = bool(before) and all(map(torch.equal, before, weights))
        if not before:
            self._weights_before = [weight.clone() for weight in weights]
        elif not still:
            torch._foreach_copy_(before, weights)
        if self._lasts("frozen_generator", still, state.step):
            patience = self.train.guards.patience
            sentence = diagnosis.frozen_generator(self.watching, patience, gradient)
            self._report("frozen_generator", state.step, sentence)

    def _compare_diversity(self, state: TrainingState) -> None:
        generated = _mean_distance(self._generated(state))
        alike = generated <= ALIKE * self._data_distance
        if self._lasts("collapse", alike, state.step, generated):
            sentence = diagnosis.collapse(self.watching, generated, self._data_distance)
            self._report("collapse", state.step, sentence)

    @torch.no_grad()
    def _generated(self, state: TrainingState) -> Tensor:
        """Images of the averaged generator, which is what ships, from latents that stay."""
        device = state.noise.device
        inputs = labels.fixed(self.train, self._dataset, 0, DIVERSITY_IMAGES, device)
        return inputs.draw(state.average.module)

    @functools.cached_property
    def _data_distance(self) -> float:
        return _mean_distance(_spread_out(self._images))

    def _lasts(self, trouble: str, seen: bool, step: int, size: float = 0.0) -> bool:
        """Tell whether it was seen for `patience` steps on end, in which `size` did not double."""
        if not seen:
            self._seen.pop(trouble, None)
            self._warned.discard(trouble)
            return False
        since, at_first = self._seen.get(trouble, (step, size))
        if size > 2.0 * at_first:  # what grows may yet be well
            since, at_first = step, size
        self._seen[trouble] = since, at_first
        return step - since >= self.train.guards.patience

    def _report(self, trouble: str, step: int, sentence: str) -> None:
        if trouble in self._warned:
            return
        self._warned.add(trouble)
        message = f"step {step}: {sentence}"
        self.run.tags({f"guard.{trouble}": message})
        if getattr(self.train.guards, f"on_{trouble}") == "fail":
            raise TrainingError(f"{message} Then start afresh with `monge train --fresh`.")
        log.warning("%s", message)

    def _refuse_non_finite(self, step: int, figures: Mapping[str, float]) -> None:
        broken = [name for name, value in figures.items() if not math.isfinite(value)]
        if not broken:
            return
        again = "" if self._halved_from is None else " again, though its learning rate was halved"
        known = f"last finite figures: {self._last_finite or 'none'}"
        message = f"the training diverged{again}: not finite at step {step}: {', '.join(broken)}"
        self.run.tags({"guard.divergence": message})
        raise Diverged(
            f"{message} ({known}).\n{diagnosis.divergence(self.watching, self._halved_from)}"
        )


def goes_back_once(train: Train[Result]) -> Train[Result]:
    """Let a training that diverged go on from its last checkpoint at half the learning rate.

    Only with `train.guards.on_divergence: retry`, and once. That it happened, and from which step
    on, is on disk before it goes on: a kill does not undo it. Raises Diverged otherwise.
    """

    @functools.wraps(train)
    def guarded(training: Training) -> Result:
        try:
            return train(training)
        except Diverged as diverged:
            wants = training.params.guards.on_divergence
            if wants == "fail" or _halved_from(training.folder) is not None:
                raise
            _go_back(training.folder, diverged)
        return train(training)

    return guarded


def _go_back(folder: Path, diverged: Diverged) -> None:
    """Write down that the learning rate is halved from the newest checkpoint on."""
    found = checkpoint.latest(folder)
    step = found.step if found else 0
    document = json.dumps({"learning_rate_halved_from_step": step}) + "\n"
    write_whole(folder / DIVERGENCE, document.encode("ascii"))
    reason = str(diverged).splitlines()[0]
    log.warning("%s Going back to step %d, with half the learning rate from there.", reason, step)


def _halved_from(folder: Path) -> int | None:
    """The step that a divergence sent this training back to, if one did."""
    path = folder / DIVERGENCE
    try:
        return int(json.loads(path.read_bytes())["learning_rate_halved_from_step"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{path}: cannot be read ({error}), and it decides the learning rate. Bring it back, "
            "or start afresh with `monge train --fresh`."
        ) from None


def _parts(state: TrainingState) -> dict[str, list[Tensor]]:
    """Everything a checkpoint holds that could stop being finite, by name."""
    parts = {f"{name}_weights": list(n.state_dict().values()) for name, n in state.modules.items()}
    for role, optimizer in state.optimizers.items():
        kept = (v for values in optimizer.state.values() for k, v in values.items() if k != "step")
        parts[f"{role}_optimizer"] = [tensor for tensor in kept if isinstance(tensor, Tensor)]
    return parts


def _sizes(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The largest weight and the largest gradient of each network, as they are on the device."""
    sizes = {}
    for role, network in networks.items():
        weights = list(network.parameters())
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        sizes[f"{role}_weights"] = _largest(weight.detach() for weight in weights)
        sizes[f"{role}_gradient"] = _largest(gradients)
    return sizes


def _largest(tensors: Iterable[Tensor]) -> Tensor:
    """The largest magnitude, a scalar; NaN where there is one (the norms carry it through)."""
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    if not floats:
        return torch.zeros(())
    return torch.stack(torch._foreach_norm(floats, math.inf)).amax().float()


def _read(scalars: Mapping[str, Tensor]) -> dict[str, float]:
    """Bring scalars from the device, all at once."""
    device = max((scalar.device for scalar in scalars.values()), key=lambda d: d.type != "cpu")
    together = torch.stack([scalar.to(device, torch.float32) for scalar in scalars.values()])
    return dict(zip(scalars, together.tolist(), strict=True))


def _spread_out(images: Split) -> Tensor:
    """Images from all over a split: [k, C, H, W]."""
    return normalise(torch.from_numpy(images.take(images.spread(DIVERSITY_IMAGES))))


def _mean_distance(images: Tensor) -> float:
    """Mean Euclidean distance between two of the images."""
    return float(torch.pdist(images.flatten(1)).mean())
