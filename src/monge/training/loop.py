"""The training loop: Algorithm 1 with everything around it named and put in a room of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass

from monge import objectives
from monge.data.batches import Batches
from monge.training.adaptation import Adaptation
from monge.training.checkpoints import record
from monge.training.checkpoints.resume import resume
from monge.training.checkpoints.writer import CheckpointWriter
from monge.training.context import Training
from monge.training.machine.capture import launcher
from monge.training.machine.device import choose_device
from monge.training.machine.execution import execution
from monge.training.machine.interrupt import StopRequest
from monge.training.machine.processor import processor
from monge.training.machine.ranks import join
from monge.training.schedule import set_schedules
from monge.training.state import TrainingState
from monge.training.watch.guards import Guards, goes_back_once
from monge.training.watch.journal import Journal
from monge.training.watch.quality import Quality


@dataclass(frozen=True)
class Outcome:
    """The place where a training stands when it returns."""

    step: int
    resumed_from: int
    seconds: float


@goes_back_once
def train(training: Training) -> Outcome:
    """Train to `train.steps` generator iterations, going on from the newest checkpoint.

    Raises CheckpointMismatch when the checkpoints are of another training, Interrupted on SIGTERM
    or SIGINT (after saving), StorageError when a checkpoint cannot be written, TrainingError when
    a guard finds that it has gone wrong.
    """
    began_s = time.monotonic()
    params, dataset = training.params, training.dataset
    device = choose_device(params.device)
    ranks = join(device)
    objective = objectives.build(params, execution(params, device, ranks))
    state = TrainingState.of(params, objective, dataset, device, ranks.share)
    if ranks.first:
        resume(state, training)
    ranks.start_together(state)
    resumed_from, stopping = state.step, False
    iterate = launcher(params, objective, state)
    augmentation = Adaptation(params, dataset, device)
    journal = Journal(training, objective, state)
    guards = Guards(training)
    quality = Quality(training, state)
    identity = record.begin(training, state.step)
    checkpoints = CheckpointWriter(params, training.folder, *identity)
    batches = Batches(dataset.train, params, device, share=ranks.share)
    reals = batches.starting_at(objective.batches_before(state.step))

    with journal, batches, processor(params, state.weights), StopRequest() as stop, checkpoints:
        while state.step < params.steps and not stopping:
            set_schedules(state, objective.rates, params, guards.rate_factor(state.step))
            readings = ranks.mean(iterate(reals))
            state.advance(params.batch_size)
            augmentation.follow(state)
            guards.watch(state, readings)
            journal.record(state, readings)
            stopping = ranks.agree(state, stop)
            if ranks.first and (quality.look(state) or stopping or checkpoints.due(state.step)):
                guards.check_finite(state)
                checkpoints.save(state, quality.records)

    if stopping and state.step < params.steps:
        raise stop.interrupted(state.step, params.steps)
    return Outcome(state.step, resumed_from, time.monotonic() - began_s)
