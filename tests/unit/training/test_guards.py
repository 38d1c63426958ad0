"""Protects: a training that has gone wrong says so, and one that is well is not disturbed."""

import json
import logging
import shutil
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.spatial.distance import pdist

from monge import objectives
from monge.data.batches import Batches
from monge.data.packed import PackedDataset, Split
from monge.data.writer import PackedWriter
from monge.errors import Diverged, Interrupted, StorageError, TrainingError
from monge.objectives.gan import GanWatch
from monge.objectives.rpgan import RpGanWatch
from monge.objectives.wgan import WganWatch
from monge.params import TrainParams
from monge.tracking import NullRun
from monge.training import loop
from monge.training.context import Training
from monge.training.schedule import set_schedules
from monge.training.state import TrainingState
from monge.training.watch import guards
from monge.training.watch.guards import DIVERGENCE, Guards


class Tagged(NullRun):
    """A run that keeps its tags."""

    def __init__(self):
        super().__init__("key")
        self.kept: dict[str, str] = {}

    def tags(self, values):
        self.kept |= values


def settings(**changes):
    values = {
        "steps": 60, "batch_size": 8, "latent_dim": 4, "threads": 1, "log_every": 5,
        "grid_every": 10, "checkpoint_every": 1000, "learning_rate_decay": "none",
        "mlp": {"depth": 2, "width": 16},
    }  # fmt: skip
    lenient = {"patience": 20, "on_dead_critic": "warn", "on_frozen_generator": "warn"}
    changes["guards"] = lenient | changes.get("guards", {})
    return TrainParams.model_validate(values | changes)


def gp(**changes):
    return {"wgan-gp": {"learning_rate": 1e-3, "critic_steps": 1} | changes}


SATURATES = gp(learning_rate=0.3, critic_steps=5) | {"mlp": {"depth": 3, "width": 32}}


@pytest.fixture
def dataset(packed_digits):
    return PackedDataset.open(packed_digits)


@pytest.fixture
def photographs(tmp_path):
    """Eight smooth pictures, 64x64 in colour."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (8, 3, 4, 4)).astype(np.uint8)
    with PackedWriter(tmp_path / "packed", (3, 64, 64), []) as writer:
        for split in ("train", "validation"):
            writer.append(split, coarse.repeat(16, axis=2).repeat(16, axis=3), None)
        writer.finish()
    return PackedDataset.open(tmp_path / "packed")


def train(params, dataset, folder, run=None):
    return loop.train(Training(params, dataset, folder, run or Tagged()))


def weights(folder):
    return load_file(max(folder.glob("step-*")) / "tensors.safetensors")


def assert_same_training(one, other):
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    for file in ("history.csv", DIVERGENCE):
        assert (one / file).read_bytes() == (other / file).read_bytes()


def test_the_default_is_left_alone_for_300_steps(dataset, tmp_path, caplog):
    params = TrainParams.model_validate(
        {"mlp": {"depth": 3, "width": 128}, "steps": 300, "log_every": 10, "grid_every": 50,
         "guards": {"patience": 50}, **gp(critic_steps=5)}
    )  # fmt: skip
    run = Tagged()
    with caplog.at_level(logging.WARNING):
        assert train(params, dataset, tmp_path, run).step == 300
    assert (run.kept, caplog.text) == ({}, "")
    assert not (tmp_path / DIVERGENCE).exists()


def test_a_clipped_critic_that_starts_slowly_is_not_called_dead(photographs, tmp_path):
    """The paper's clip on five layers: estimates of 1e-6 at first."""
    params = settings(
        steps=30, net="dcgan", dcgan={"features": 2, "critic_norm": "none"}, batch_size=4,
        objective="wgan", guards={"patience": 10, "on_dead_critic": "fail"},
        wgan={"critic_steps": 2},
    )  # fmt: skip
    run = Tagged()
    train(params, photographs, tmp_path / "out", run)
    first = (tmp_path / "out/history.csv").read_text().splitlines()[1].split(",")
    assert abs(float(first[1])) < 1e-4
    assert run.kept == {}


@pytest.fixture
def overflows(monkeypatch):
    """From step 7 on weights move by 1e30, halved or not: scores are beyond what float32 has.

    It is so early that no arithmetic's roundings have grown to anything by then.
    """

    def wild(state, rates, params, factor):
        set_schedules(state, rates, params, factor * (1e33 if state.step >= 7 else 1.0))

    monkeypatch.setattr(loop, "set_schedules", wild)
    return gp() | {"checkpoint_every": 1}


def test_a_divergence_fails_with_a_diagnosis_and_reaches_no_checkpoint(
    dataset, tmp_path, overflows
):
    run = Tagged()
    with pytest.raises(Diverged) as caught:
        train(settings(**overflows), dataset, tmp_path, run)
    message = str(caught.value)
    assert "the training diverged: not finite at step" in message
    assert "last finite figures: step 5: " in message
    assert "wasserstein_estimate" in message
    assert "Lower train.wgan-gp.learning_rate (0.001)" in message
    assert "train.guards.on_divergence: retry" in message
    assert len(message.splitlines()) == 2
    assert isinstance(caught.value, TrainingError)
    assert caught.value.exit_code == 4
    assert run.kept["guard.divergence"] in message
    kept = weights(tmp_path)
    assert kept
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    history = (tmp_path / "history.csv").read_text()
    assert "nan" not in history
    assert "inf" not in history


def test_a_divergence_between_two_figures_is_caught_before_the_checkpoint(
    dataset, tmp_path, monkeypatch
):
    """RMSProp's first step is ten times its rate, 1e39: only the generator is not clipped."""

    def wild(state, rates, params, factor):
        set_schedules(state, dict.fromkeys(rates, 1e38), params, factor)

    monkeypatch.setattr(loop, "set_schedules", wild)
    params = settings(objective="wgan", log_every=1000, checkpoint_every=1)
    expected = "not finite at step 1: generator_weights, .*last finite figures: none"
    with pytest.raises(Diverged, match=expected):
        train(params, dataset, tmp_path)
    assert not list(tmp_path.glob("step-*"))


def test_a_loss_that_is_not_finite_is_seen_in_its_iteration(dataset, tmp_path):
    params = settings(
        objective="wgan", log_every=1000, checkpoint_every=1000, mlp={"depth": 28, "width": 64},
        wgan={"clip": 10.0, "learning_rate": 1.0, "critic_steps": 1},
    )  # fmt: skip
    objective = objectives.build(params)
    state = TrainingState(params, objective, dataset.image_shape, torch.device("cpu"))
    with Batches(dataset.train, params, torch.device("cpu")) as batches:
        reals, first = batches.starting_at(0), 0
        readings: dict[str, torch.Tensor] = {}
        while all(map(torch.isfinite, readings.values())) and first < 60:
            first += 1
            readings = objective.iterate(state.networks, state.optimizers, reals, state.noise, 1)
    assert 1 < first < 60
    with pytest.raises(Diverged, match=f"not finite at step {first}: "):
        train(params, dataset, tmp_path)


@pytest.fixture
def state():
    params = settings(net="dcgan", dcgan={"features": 2}, **gp())
    state = TrainingState(params, objectives.build(params), (1, 8, 8), torch.device("cpu"))
    reals = iter([(torch.zeros(8, 1, 8, 8), None)])
    objectives.build(params).iterate(state.networks, state.optimizers, reals, state.noise, 1)
    return state


@pytest.mark.parametrize(
    "name",
    ["critic_weights", "generator_weights", "averaged_weights", "critic_optimizer",
     "generator_optimizer"],
)  # fmt: skip
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_part_of_a_checkpoint_may_be_other_than_finite(state, dataset, tmp_path, name, value):
    guard = Guards(Training(settings(), dataset, tmp_path, Tagged()))
    guard.check_finite(state)
    tensors = [tensor for tensor in guards._parts(state)[name] if tensor.is_floating_point()]
    for tensor in tensors:
        last = (-1,) * tensor.dim()
        before = tensor[last].item()
        tensor[last] = value
        with pytest.raises(Diverged, match=f"not finite at step 0: {name} "):
            guard.check_finite(state)
        tensor[last] = before
    guard.check_finite(state)


def test_every_number_of_a_checkpoint_is_checked(state):
    """All that is saved, save step counters and the random state, is in one of the parts."""
    checked = sum(t.numel() for tensors in guards._parts(state).values() for t in tensors)
    steps = [name for name in state.tensors() if name.startswith("opt") and name.endswith(".step")]
    saved = sum(t.numel() for name, t in state.tensors().items() if name != "noise")
    assert checked == saved - len(steps)


@pytest.mark.parametrize("name", ["wasserstein_estimate", "gradient of the generator"])
def test_a_loss_or_a_gradient_that_is_not_finite_is_enough(state, dataset, tmp_path, name):
    readings = {"wasserstein_estimate": torch.ones(()), "generator_loss": torch.ones(())}
    guard = Guards(Training(settings(log_every=1), dataset, tmp_path, Tagged()))
    guard.watch(state, readings)
    if name in readings:
        readings[name] = torch.tensor(float("inf"))
    else:
        next(state.networks["generator"].parameters()).grad[0, 0] = float("nan")
    with pytest.raises(Diverged, match=r"last finite figures: step 0: wasserstein_estimate 1"):
        guard.watch(state, readings)


RETRIES = settings(
    steps=12, log_every=2, checkpoint_every=3, grid_every=100, keep_checkpoints=9,
    guards={"on_divergence": "retry"}, **gp(),
)  # fmt: skip


@pytest.fixture
def rates(monkeypatch):
    """One wild step after step 7, unless the rate has been halved; notes (step, rate)."""
    seen: list[tuple[int, float]] = []

    def wild(state, rates, params, factor):
        rate = rates["critic"] * factor
        seen.append((state.step, rate))
        factor = 1e33 if (state.step, rate) == (7, 1e-3) else factor
        set_schedules(state, rates, params, factor)

    monkeypatch.setattr(loop, "set_schedules", wild)
    return seen


def test_a_retry_goes_on_from_the_last_checkpoint_with_half_the_rate(
    dataset, tmp_path, rates, caplog
):
    run = Tagged()
    with caplog.at_level(logging.WARNING):
        outcome = train(RETRIES, dataset, tmp_path, run)
    assert (outcome.step, outcome.resumed_from) == (12, 6)
    full = [(step, 1e-3) for step in range(8)]
    assert rates == full + [(step, 5e-4) for step in range(6, 12)]
    assert json.loads((tmp_path / DIVERGENCE).read_text()) == {"learning_rate_halved_from_step": 6}
    assert "Going back to step 6, with half the learning rate from there" in caplog.text
    assert "not finite at step 8" in run.kept["guard.divergence"]
    steps = [line.split(",")[0] for line in (tmp_path / "history.csv").read_text().splitlines()]
    assert steps == ["step", "2", "4", "6", "8", "10", "12"]


def test_without_a_checkpoint_a_retry_begins_again(dataset, tmp_path, rates):
    params = RETRIES.model_copy(update={"checkpoint_every": 100})
    assert train(params, dataset, tmp_path).resumed_from == 0
    assert rates[8:] == [(step, 5e-4) for step in range(12)]


def test_by_default_there_is_no_retry_and_asking_for_one_later_gives_the_same(
    dataset, tmp_path, rates
):
    train(RETRIES, dataset, tmp_path / "asked")
    failing = RETRIES.model_copy(update={"guards": settings().guards})
    for _ in range(2):  # the same command fails again at the same step
        with pytest.raises(Diverged, match="at step 8"):
            train(failing, dataset, tmp_path / "later")
    train(RETRIES, dataset, tmp_path / "later")
    assert_same_training(tmp_path / "asked", tmp_path / "later")


def test_a_signal_and_lost_checkpoints_do_not_undo_the_halving(dataset, tmp_path, rates):
    train(RETRIES, dataset, tmp_path / "whole")

    class SignalAtTen(Tagged):
        def metrics(self, values, step, *, again=False):
            if step == 10:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(RETRIES, dataset, tmp_path / "broken", SignalAtTen())
    for step in (6, 9, 10):  # resumed from before the divergence, it passes there at full rate
        shutil.rmtree(tmp_path / f"broken/step-{step:08d}")
    rates.clear()
    assert train(RETRIES, dataset, tmp_path / "broken").resumed_from == 3
    assert rates == [(step, 1e-3 if step < 6 else 5e-4) for step in range(3, 12)]
    assert_same_training(tmp_path / "whole", tmp_path / "broken")


def test_a_second_divergence_fails(dataset, tmp_path, overflows):
    params = settings(**overflows | {"guards": {"on_divergence": "retry"}})
    with pytest.raises(Diverged, match="diverged again, though its learning rate was halved"):
        train(params, dataset, tmp_path)
    with pytest.raises(Diverged, match="diverged again"):
        train(params, dataset, tmp_path)


def test_a_damaged_note_of_the_halving_is_refused(dataset, tmp_path):
    (tmp_path / DIVERGENCE).write_text("{")
    with pytest.raises(StorageError, match=r"divergence.json: cannot be read .*--fresh"):
        train(RETRIES, dataset, tmp_path)


def test_a_clip_too_tight_for_a_deep_convolutional_critic_is_named(photographs, tmp_path):
    params = settings(
        net="dcgan", dcgan={"features": 1}, objective="wgan", batch_size=2,
        wgan={"clip": 1e-6, "critic_steps": 1}, guards={"on_dead_critic": "fail"},
    )  # fmt: skip
    run = Tagged()
    with pytest.raises(TrainingError) as caught:
        train(params, photographs, tmp_path / "out", run)
    message = str(caught.value)
    assert message.startswith("step 25: the critic is dead")
    assert "train.wgan.clip: 1e-06 is too tight" in message
    assert "train.objective: wgan-gp" in message
    assert caught.value.exit_code == 4
    assert "guard.dead_critic" in run.kept


DEEP = {"mlp": {"depth": 8, "width": 64}, "objective": "wgan"}


def test_the_papers_own_clip_kills_a_critic_of_eight_layers(dataset, tmp_path):
    with pytest.raises(TrainingError, match=r"train.wgan.clip: 0.01 is too tight"):
        train(settings(**DEEP, guards={"on_dead_critic": "fail"}), dataset, tmp_path)


def test_a_warning_is_given_once_and_training_goes_on(dataset, tmp_path, caplog):
    run = Tagged()
    with caplog.at_level(logging.WARNING):
        assert train(settings(**DEEP), dataset, tmp_path, run).step == 60
    assert caplog.text.count("the critic is dead") == 1
    assert "guard.dead_critic" in run.kept


def test_a_trouble_that_comes_back_is_told_again(state, dataset, tmp_path, caplog):
    guard = Guards(Training(settings(log_every=1, grid_every=1000), dataset, tmp_path, Tagged()))
    with caplog.at_level(logging.WARNING):
        for state.step, estimate in enumerate([0.0] * 50 + [1.0] + [0.0] * 50):
            readings = {"wasserstein_estimate": estimate, "generator_loss": 0.0}
            guard.watch(state, {name: torch.tensor(value) for name, value in readings.items()})
    told = [r.message.split(":")[0] for r in caplog.records if "critic is dead" in r.message]
    assert told == ["step 20", "step 71"]


def test_equal_scores_are_a_dead_critic_at_any_scale_and_a_growing_estimate_is_not(
    state, dataset, tmp_path
):
    params = settings(log_every=1, grid_every=1000, guards={"on_dead_critic": "fail"})

    def watch(estimates, score):
        guard = Guards(Training(params, dataset, tmp_path, Tagged()))
        for state.step, estimate in enumerate(estimates):
            readings = {"wasserstein_estimate": estimate, "generator_loss": score}
            guard.watch(state, {name: torch.tensor(value) for name, value in readings.items()})

    watch([1e-20 * 1.1**k for k in range(200)], 0.0)
    watch([1e-7] * 100, 0.0)
    watch([0.01] * 100, 1e3)
    with pytest.raises(TrainingError, match="step 20: the critic is dead"):
        watch([1e-20] * 100, 0.0)
    with pytest.raises(TrainingError, match="step 20: the critic is dead"):
        watch([1e-4] * 100, 1e3)


def test_a_critic_without_a_penalty_that_counts_explodes(dataset, tmp_path, caplog):
    explodes = gp(penalty_weight=1e-6, critic_steps=5) | {"mlp": {"depth": 3, "width": 64}}
    explodes |= {"steps": 150}
    run = Tagged()
    with caplog.at_level(logging.WARNING):
        assert train(settings(**explodes), dataset, tmp_path / "warned", run).step == 150
    assert "the critic is exploding" in run.kept["guard.exploding_critic"]
    assert "Raise train.wgan-gp.penalty_weight (1e-06)" in caplog.text
    with pytest.raises(TrainingError, match="the critic is exploding"):
        train(settings(**explodes, guards={"on_exploding_critic": "fail"}), dataset, tmp_path / "f")


def test_a_clipped_critic_explodes_by_its_estimate_alone(dataset, tmp_path):
    run = Tagged()
    wild = {"objective": "wgan", "wgan": {"clip": 10.0, "learning_rate": 1.0}}
    train(settings(**wild), dataset, tmp_path, run)
    assert "Lower train.wgan.clip (10)" in run.kept["guard.exploding_critic"]


TOO_SURE = {
    "minimax": ({"objective": "gan", "gan": {"learning_rate": 1e-3, "discriminator_steps": 5,
                                             "loss": "minimax"}},
                "the discriminator tells real and fake apart (Jensen-Shannon estimate ",
                "train.gan.loss: hinge, train.gan.discriminator_steps: 5 and "
                "train.mlp.critic_norm: spectral."),
    "rpgan": ({"objective": "rpgan", "rpgan": {"learning_rate": 3e-3, "critic_steps": 10,
                                               "penalty_weight": 1e-6, "penalty_weight_end": 1e-6}},
              "the critic tells real and fake apart (relativistic estimate ",
              "Raise train.rpgan.penalty_weight (1e-06), or lower train.rpgan.learning_rate "
              "(0.003)."),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "seen", "remedy"), TOO_SURE.values(), ids=TOO_SURE)
def test_an_opponent_that_is_sure_of_every_image_ends_the_training(
    dataset, tmp_path, changes, seen, remedy
):
    sure = changes | {"log_every": 1, "guards": {"patience": 5}, "mlp": {"depth": 2, "width": 32}}
    run = Tagged()
    with pytest.raises(TrainingError) as caught:
        train(settings(**sure), dataset, tmp_path, run)
    first, second = str(caught.value).splitlines()
    assert f"the generator's gradient has vanished: {seen}" in first
    assert remedy in second
    assert run.kept.keys() == {"guard.vanishing_gradient"}


def estimates(watch, values):
    """Tell for each look with these estimates whether the watch calls its opponent too sure."""
    seen = []
    for value in values:
        figures = {"real_score": 1.0, "fake_score": -1.0, f"{watch.opponent}_gradient": 1.0}
        found = watch.troubles(figures | {watch.headline.name: value}, (1, 8, 8), 200)
        seen += [trouble.seen for trouble in found if trouble.name == "vanishing_gradient"]
    return seen


def test_sureness_is_the_median_of_eleven_looks_against_its_bound():
    """An estimate jumps from batch to batch: neither a few sure looks nor a few others decide."""
    sure, unsure = 0.81 * np.log(2), 0.0
    assert estimates(GanWatch(TrainParams()), [sure] * 11) == [False] * 10 + [True]
    assert estimates(GanWatch(TrainParams()), [sure] * 6 + [unsure] * 5)[-1]
    assert not estimates(GanWatch(TrainParams()), [unsure] * 6 + [sure] * 5)[-1]
    assert estimates(RpGanWatch(TrainParams()), [sure] * 11)[-1]
    assert not any(estimates(RpGanWatch(TrainParams()), [0.79 * np.log(2)] * 11))
    hinge = TrainParams.model_validate({"gan": {"loss": "hinge"}})
    assert estimates(GanWatch(hinge), [1.0] * 20) == []  # its generator's gradient stays


@pytest.mark.parametrize(
    ("method", "opponent"), [("gan", "discriminator"), ("rpgan", "critic"), ("wgan-gp", "critic")]
)
def test_layers_that_let_no_score_through_are_told_from_a_rate_that_is_too_high(
    dataset, tmp_path, method, opponent
):
    """No rate helps them: the score of 28 layers with torch's first weights is a constant."""
    params = settings(
        objective=method, log_every=1, mlp={"depth": 28, "width": 16},
        guards={"patience": 3, "on_dead_critic": "fail"},
    )  # fmt: skip
    with pytest.raises(TrainingError, match=r"step 4: ") as caught:
        train(params, dataset, tmp_path)
    first, second = str(caught.value).splitlines()
    assert f"the {opponent} is dead: real and fake images get the same score" in first
    assert f"lower train.{method}.learning_rate (" in second
    assert "layers: use fewer, or, where the net has it, critic_initialisation: he." in second


def test_a_critic_that_no_clip_holds_is_told_no_clip_to_change():
    watch = WganWatch(settings(objective="wgan", wgan={"clip": 0.0}))
    well = {"wasserstein_estimate": 1.0, "generator_loss": 0.0, "critic_gradient": 1.0}

    def told(**changes):
        found = watch.troubles(well | changes, (1, 8, 8), 200)
        return [trouble.sentence for trouble in found if trouble.seen]

    assert told() == told(gradient_norm=99.0) == []
    (steep,) = told(gradient_norm=101.0)
    assert steep.endswith("unit of distance.\nLower train.wgan.learning_rate (5e-05).")
    (dead,) = told(wasserstein_estimate=0.0)
    assert "spectral norm lets nothing through so many layers: use fewer." in dead
    assert "clip" not in steep + dead


@pytest.mark.parametrize(
    ("rate", "remedy"),
    [(1e-30, r"Raise train.wgan-gp.learning_rate \(1e-30\)"), (0.3, "has saturated. Lower train")],
)
def test_a_generator_that_does_not_move_is_frozen(dataset, tmp_path, rate, remedy):
    frozen = SATURATES | gp(learning_rate=rate) | {"guards": {"on_frozen_generator": "fail"}}
    with pytest.raises(TrainingError, match=r"(?s)the generator is frozen.*" + remedy):
        train(settings(**frozen), dataset, tmp_path)


def test_a_generator_whose_images_are_all_alike_has_collapsed(dataset, tmp_path):
    run = Tagged()
    train(settings(**SATURATES), dataset, tmp_path / "warned", run)
    assert "its images are all alike (mean distance 0" in run.kept["guard.collapse"]
    with pytest.raises(TrainingError, match="the generator has collapsed"):
        train(settings(**SATURATES, guards={"on_collapse": "fail"}), dataset, tmp_path / "failed")


def test_diversity_is_the_mean_distance_of_images_from_all_classes(dataset):
    order = np.argsort(dataset.train.labels, kind="stable")
    images = guards._spread_out(Split([dataset.train.take(order)], None))
    assert guards._mean_distance(images) == pytest.approx(pdist(images.flatten(1)).mean(), rel=1e-5)
    everything = dataset.train.take(np.arange(len(dataset.train))) / 127.5 - 1.0
    expected = pdist(everything.reshape(len(everything), -1)).mean()
    assert guards._mean_distance(images) == pytest.approx(expected, rel=0.05)


def test_nothing_is_read_when_nothing_is_due(dataset, tmp_path, state):
    guard = Guards(Training(settings(log_every=50, grid_every=50), dataset, tmp_path, Tagged()))
    state.step = 49
    state.networks.clear()
    guard.watch(state, {})


def test_guards_may_change_without_another_training(dataset, tmp_path):
    params = settings(steps=4, checkpoint_every=2, **gp())
    train(params, dataset, tmp_path)
    other = settings(steps=6, checkpoint_every=2, guards={"patience": 7}, **gp())
    assert train(other, dataset, tmp_path).resumed_from == 4


def encoding(method, **changes):
    return settings(
        objective=method, steps=400, batch_size=32, mlp={"depth": 1, "width": 32},
        guards={"patience": 100, "on_stray_latents": "fail"},
        **{method: {"learning_rate": 1e-3} | changes},
    )  # fmt: skip


def test_a_generator_taken_to_be_noise_collapses_the_posterior(dataset, tmp_path):
    run = Tagged()
    with pytest.raises(TrainingError, match="the posterior has collapsed") as caught:
        train(encoding("vae", decoder_deviation=30.0), dataset, tmp_path, run)
    assert "Lower train.vae.decoder_deviation (30)" in str(caught.value)
    assert "posterior" in run.kept["guard.posterior_collapse"]


@pytest.mark.parametrize("method", ["wae-mmd", "wae-gan"])
def test_latents_that_nothing_holds_leave_the_prior(method, dataset, tmp_path):
    params = encoding(method, penalty_weight=1e-9, learning_rate=1e-2)
    with pytest.raises(TrainingError, match="the latents are not where the prior is") as caught:
        train(params, dataset, tmp_path)
    assert f"Raise train.{method}.penalty_weight (1e-09)" in str(caught.value)


@pytest.mark.parametrize("method", ["vae", "wae-mmd", "wae-gan"])
def test_an_encoder_that_is_held_is_left_alone(method, dataset, tmp_path, caplog):
    outcome = train(encoding(method), dataset, tmp_path)
    assert outcome.step == 400
    assert "the latents" not in caplog.text
    rows = (tmp_path / "history.csv").read_text().splitlines()
    first, last = (
        dict(zip(rows[0].split(","), row.split(","), strict=True)) for row in rows[1::79]
    )
    for name in ("reconstruction_error", "reconstruction_error_held_out"):
        assert float(last[name]) < 0.5 * float(first[name])
    assert last["headline_held_out"] == last["reconstruction_error_held_out"]
