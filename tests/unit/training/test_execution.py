"""However an iteration is launched, cut up or rounded, it is the same training."""

import itertools
import math

import pytest
import torch

from monge import objectives
from monge.objectives import Execution, adversarial, autoencoder
from monge.params import TrainParams
from monge.training.machine.capture import launcher
from monge.training.machine.precision import choose_precision, fast
from monge.training.state import TrainingState
from tests.kinds import KINDS, WHOLE, of_kind

CPU = torch.device("cpu")
SHAPE = (3, 16, 16)
SETTINGS = {
    "latent_dim": 8, "batch_size": 8, "mlp": {"depth": 2, "width": 32}, "dcgan": {"features": 4},
}  # fmt: skip
SUMS = [kind for kind in KINDS if kind not in WHOLE]
everything = [
    *(pytest.param(net, kind, id=f"{net}-{kind}") for net in ("mlp", "dcgan") for kind in KINDS),
    pytest.param("dcgan-plain", "wgan-gp", id="dcgan-plain-wgan-gp"),
]


def reals():
    generator = torch.Generator().manual_seed(5)
    while True:
        yield torch.rand((8, *SHAPE), generator=generator) * 2 - 1, None


def begin(net, kind, precision="fp32", **extra):
    train = TrainParams.model_validate(of_kind(kind, **SETTINGS, net=net, **extra))
    how = Execution(train.accumulate, fast(precision, CPU))
    built = objectives.build(train, how)
    return train, built, TrainingState(train, built, SHAPE, CPU)


def run(net, kind, iterations, **extra):
    train, built, state = begin(net, kind, **extra)
    iterate, images, readings = launcher(train, built, state), reals(), {}
    for _ in range(iterations):
        readings = iterate(images)
        state.advance(8)
    return state, readings


def gradients(net, kind, precision="fp32", **extra):
    """Of one step of the opponent and one generator step, whose updates are left out."""
    _, built, state = begin(net, kind, precision, **extra)
    roles = {id(optimizer): role for role, optimizer in state.optimizers.items()}
    found = {}

    def keep(optimizer):
        role = roles[id(optimizer)]
        found.update(
            {f"{role}.{n}": p.grad.clone() for n, p in state.networks[role].named_parameters()}
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adversarial, "step", keep)
        patch.setattr(autoencoder, "step", keep)
        readings = built.iterate(state.networks, state.optimizers, reals(), state.noise, 1)
    return found, readings


def relative(found, wanted):
    """The largest distance between two gradients of one weight, by the wanted one's length."""
    return max(
        float((found[name] - wanted[name]).norm() / wanted[name].norm().clamp_min(1e-12))
        for name in wanted
        if wanted[name].norm() > 1e-7
    )


@pytest.mark.parametrize(("net", "kind"), everything)
def test_the_buffers_of_a_recorded_iteration_give_the_same_bits(net, kind, caplog):
    plain, seen = run(net, kind, 5, capture="off")
    recorded, seen_too = run(net, kind, 5, capture="graph")
    assert "a CPU records nothing" in caplog.text
    ours, theirs = recorded.tensors(), plain.tensors()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert seen == seen_too


def test_a_longer_iteration_leaves_the_recorded_one_alone():
    extra = {"extra_critic_steps": "authors"}
    train, built, state = begin("mlp", "wgan", **extra, capture="graph")
    assert [built.batches_at(step) for step in (0, 24, 25, 499, 500)] == [100, 100, 5, 5, 100]
    iterate, images = launcher(train, built, state), reals()
    for state.step in (24, 25, 26):
        iterate(images)
    other, plain, twin = begin("mlp", "wgan", **extra, capture="off")
    iterate, images = launcher(other, plain, twin), reals()
    for twin.step in (24, 25, 26):
        iterate(images)
    assert torch.equal(
        state.networks["critic"].net[1].weight, twin.networks["critic"].net[1].weight
    )


@pytest.mark.parametrize(("kind", "each"), [("wgan", 5), ("wgan-gp", 5), ("gan", 1), ("rpgan", 1)])
def test_the_authors_schedule_is_counted_as_it_is_run(kind, each):
    _, built, _ = begin("mlp", kind, extra_critic_steps="authors")
    counted = [0, *itertools.accumulate(built.batches_at(step) for step in range(1100))]
    assert [built.batches_before(step) for step in range(1101)] == counted
    _, plain, _ = begin("mlp", kind)
    assert plain.batches_before(1000) == each * 1000


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        *((kind, {"accumulate": 1 if kind in WHOLE else 4}) for kind in KINDS),
        *(
            ("wgan-gp", extra)
            for extra in ({"extra_critic_steps": "authors"}, {"capture": "graph"})
        ),
    ],
    ids=str,
)
def test_a_snapshot_goes_on_at_the_same_bits(kind, extra):
    """In convolutions whose weights are channels-last, as are their optimizers' moments."""

    def go_on(train, built, state, until):
        iterate = launcher(train, built, state)
        images = itertools.islice(reals(), built.batches_before(state.step), None)
        while state.step < until:
            iterate(images)
            state.advance(8)

    train, built, state = begin("dcgan", kind, **extra)
    state.step = 23
    go_on(train, built, state, 24)
    snapshot = state.tensors()
    go_on(train, built, state, 27)
    _, again, resumed = begin("dcgan", kind, **extra)
    resumed.restore(snapshot, 24)
    go_on(train, again, resumed, 27)
    ours, theirs = resumed.tensors(), state.tensors()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    moments = [v for o in resumed.optimizers.values() for s in o.state.values() for v in s.values()]
    assert any(m.is_contiguous(memory_format=torch.channels_last) for m in moments if m.dim() == 4)


@pytest.mark.parametrize("kind", SUMS)
@pytest.mark.parametrize("net", ["mlp", "dcgan-plain"])  # batch norm sees a part at a time
def test_a_batch_in_parts_has_the_gradients_of_the_whole(net, kind):
    whole, seen = gradients(net, kind)
    parts, seen_in_parts = gradients(net, kind, accumulate=4)
    assert relative(parts, whole) < 2e-5
    for name in seen:
        torch.testing.assert_close(seen_in_parts[name], seen[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("net", "kind"), everything)
def test_bf16_keeps_the_direction_of_every_gradient(net, kind):
    exact, readings = gradients(net, kind)
    rounded, seen = gradients(net, kind, "bf16")
    assert any(not torch.equal(rounded[name], exact[name]) for name in exact)
    assert all(tensor.dtype == torch.float32 for tensor in (*rounded.values(), *seen.values()))
    for name, wanted in exact.items():
        if wanted.norm() > 1e-6:
            apart = torch.nn.functional.cosine_similarity(
                rounded[name].flatten(), wanted.flatten(), dim=0
            )
            # An exponential, of a difference or of half a variance, rounds more than a product.
            assert apart > (0.96 if kind in ("gan, compared", "wae-gan, noised") else 0.98)
            assert 0.8 < rounded[name].norm() / wanted.norm() < 1.25
    if kind == "wgan-gp":  # the critic and so its slope are float32: only the fakes differ
        assert float(seen["gradient_norm"]) == pytest.approx(float(readings["gradient_norm"]), 0.02)


@pytest.mark.parametrize(("net", "kind"), everything)
def test_tf32_is_float32_where_there_is_no_tf32(net, kind):
    exact, _ = gradients(net, kind)
    allowed, _ = gradients(net, kind, "tf32")
    fast("fp32", CPU)
    assert all(torch.equal(allowed[name], exact[name]) for name in exact)


def test_auto_precision_is_exact_on_a_cpu():
    assert choose_precision("auto", CPU) == "fp32"
    assert torch.get_float32_matmul_precision() == "highest"
    assert math.isfinite(float(run("mlp", "wgan", 1)[1]["wasserstein_estimate"]))
