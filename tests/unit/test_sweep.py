"""Protects: what a sweep varies, what it is begun with, and which of its trials is the best."""

import csv
from dataclasses import replace

import optuna
import pytest
from PIL import Image

from monge import products
from monge.errors import InputError, ParamsError
from monge.metrics.pyramid import NAME
from monge.paths import Paths
from monge.training.watch import quality
from pipelines import child
from pipelines.sweep import __main__ as command
from pipelines.sweep import comparison, plan, space, trial
from pipelines.sweep.comparison import Row
from pipelines.sweep.plan import Plan
from pipelines.sweep.space import Range

RATE = "train.wgan-gp.learning_rate"


def ranged(text: str) -> Range:
    (varied,) = space.parsed([text]).values()
    assert isinstance(varied, Range)
    return varied


def planned(*vary, search="random", **other) -> Plan:
    return Plan(vary, search, "frechet", other.get("seed", 0), True, other.get("trials", 4), "{}\n")


def test_values_are_read_as_their_parameters_want_them():
    assert space.parsed(["train.latent_dim=16, 32", "prepare.colour=rgb,grey",
                         "train.flip=true,false"]) == {
        "train.latent_dim": (16, 32), "prepare.colour": ("rgb", "grey"),
        "train.flip": (True, False),
    }  # fmt: skip
    assert ranged(f"{RATE}=1e-4..1e-2:log") == Range(1e-4, 1e-2, True)
    assert ranged("train.latent_dim=8..64").whole
    assert not ranged(f"{RATE}=0.5..1.0").whole


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ([], "nothing to vary"),
        (["train.flip"], "write section.key=value,value"),
        ([f"{RATE}=1e-2..1e-4"], "a range goes from a number to a larger one"),
        ([f"{RATE}=0..1:log"], "logarithms need a range above 0"),
        ([f"{RATE}=1..2:square"], "there may be log, and nothing else"),
        (["train.net=mlp..dcgan"], "a range goes from a number"),
        (["train.latent_dim=8,8"], "stands there twice"),
        (["train.latent_dim=8,9", "train.latent_dim=10"], "names one parameter twice"),
    ],
)
def test_what_is_no_space_is_refused_in_a_line(vary, said):
    with pytest.raises(InputError, match=said):
        space.parsed(vary)


def test_every_end_and_value_is_checked_before_anything_runs(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text("{}\n")
    space.check(space.parsed(["train.latent_dim=8,16"]), [], params)
    with pytest.raises(ParamsError, match=r"train.batch_size: must be at least 2, got 1"):
        space.check(space.parsed(["train.batch_size=1..64"]), [], params)
    space.check(space.parsed(["train.accumulate=1,3", "train.batch_size=64,66"]), [], params)
    with pytest.raises(ParamsError, match=r"train.accumulate"):
        space.check(space.parsed(["train.accumulate=1,5", "train.batch_size=64,66"]), [], params)
    with pytest.raises(ParamsError, match="unknown key"):
        space.check(space.parsed(["train.breadth=1,2"]), [], params)


def test_a_grid_is_every_combination_and_has_no_ranges():
    points = space.grid(space.parsed(["train.latent_dim=8,16", "train.flip=true,false"]))
    assert [tuple(point.values()) for point in points] == [
        (8, True), (8, False), (16, True), (16, False),
    ]  # fmt: skip
    with pytest.raises(InputError, match="a grid has no ranges"):
        space.grid(space.parsed([f"{RATE}=1e-4..1e-2"]))
    two = space.parsed(["train.latent_dim=8,16"])
    assert plan.count(two, "grid", None) == 2
    assert plan.count(two, "random", None) == plan.TRIALS
    with pytest.raises(InputError, match="the grid has 2 points"):
        plan.count(two, "grid", 3)
    with pytest.raises(InputError, match="must be at least 1"):
        plan.count(two, "learned", 0)


def test_a_trial_is_what_is_typed():
    assert plan.changes({RATE: 0.00123456, "train.flip": True, "train.latent_dim": 8}) == [
        f"{RATE}=0.001235", "train.flip=true", "train.latent_dim=8",
    ]  # fmt: skip


def test_a_sweep_keeps_its_plan(tmp_path):
    place = plan.folder(tmp_path, "first")
    plan.begin(place, planned("train.latent_dim=8,16"))
    plan.begin(place, planned("train.latent_dim=8,16"))
    assert plan.read(place) == planned("train.latent_dim=8,16")
    with pytest.raises(InputError, match="first was begun with another vary, another seed"):
        plan.begin(place, planned("train.latent_dim=8", seed=3))
    plan.begin(place, planned("train.latent_dim=8,16", trials=9))
    assert plan.read(place).trials == 9, "more of the same"
    with pytest.raises(InputError, match="was begun with another trials"):
        plan.begin(place, planned("train.latent_dim=8,16", trials=3))
    for name in ("../x", "", "a b", ".x", "x" * 65):
        with pytest.raises(InputError, match="cannot name a sweep"):
            plan.folder(tmp_path, name)
    with pytest.raises(InputError, match="no sweep of this name"):
        plan.read(plan.folder(tmp_path, "second"))


@pytest.mark.parametrize("search", plan.SEARCHES)
def test_a_trial_is_drawn_once_whoever_asks_and_in_whatever_order(tmp_path, search):
    vary = ("train.latent_dim=8,16,32",) if search == "grid" else (f"{RATE}=1e-5..1e-1:log",)
    fixed = planned(*vary, search=search)
    drawn: dict[int, list[dict]] = {}
    for folder, order in (("a", (0, 1, 2)), ("b", (2, 0, 1, 1))):
        place = tmp_path / folder
        plan.begin(place, fixed)
        for task in order:
            trial = plan.trial_of(plan.memory(place, fixed, "minimize", task), fixed, task)
            drawn.setdefault(task, []).append(trial.params)
    for params in drawn.values():
        assert all(one == params[0] for one in params)
    assert len({str(params) for params in drawn.values()}) == 3, "three different trials"
    study = plan.memory(tmp_path / "a", fixed, "minimize")
    study.tell(0, 5.0)
    ended = plan.ended(study, 0)
    assert ended is not None
    assert ended.value == 5.0
    assert plan.ended(study, 1) is None


def test_random_trials_cover_their_range():
    fixed = planned("train.latent_dim=1..1000")
    drawn = []
    for task in range(60):
        study = optuna.create_study(sampler=plan._sampler(fixed, task))
        drawn.append(study.ask(space.distributions(fixed.space)).params["train.latent_dim"])
    assert min(drawn) < 100
    assert max(drawn) > 900
    assert 350 < sum(drawn) / 60 < 650


def looked(folder, figures):
    """Write what a training leaves of its looks, up to now."""
    rows = [f"{step},{figure}" for step, figure in figures.items()]
    place = Paths(folder).checkpoints / quality.TABLE
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("\n".join([f"step,{NAME}", *rows, ""]))


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_trial_behind_the_median_of_the_others_at_a_step_is_ended_by_its_looks(
    tmp_path, monkeypatch, direction
):
    """Looks are distances, in which lower is better, whatever the sweep's own figure is."""
    lines: list[str] = []
    begun: list[str] = []
    levels = (1.0, 2.0, 3.0, 4.0, 2.6, 1.5)

    def training(command, log, **_):
        begun.append(command[-1])
        for step in (10, 20, 30):
            figures[step] = levels[task] * 100 / step
            looked(folder, figures)
            log(f"step {step}")
        return child.Ended(0, ())

    monkeypatch.setattr(child, "run", training)
    monkeypatch.setattr(trial, "figure", lambda *_: 1.0)
    for prunes in (True, False):
        fixed = replace(planned(f"{RATE}=1e-5..1e-1:log", trials=8), prune=prunes)
        place = tmp_path / f"{direction}-{prunes}"
        plan.begin(place, fixed)
        study = plan.memory(place, fixed, direction)
        for task in range(len(levels)):
            folder, figures = trial.place(place, task), dict[int, float]()
            drawn = plan.trial_of(study, fixed, task)
            lines.clear()
            begun.clear()
            if prunes and task == 4:  # the median of the four before it is 2.5
                with pytest.raises(trial.Pruned, match="pruned at step 10"):
                    trial.value(folder, fixed, drawn, lines.append)
                assert (lines, begun) == (["step 10"], ["train"]), "it is over at once"
                study.tell(drawn, state=optuna.trial.TrialState.PRUNED)
            else:
                assert trial.value(folder, fixed, drawn, lines.append) == 1.0
                assert begun == ["train", "export", "evaluate"]
                study.tell(drawn, 1.0)


def row(trial, value, state="complete", **params):
    return Row(trial, state, value, {"train.latent_dim": 8, RATE: 1e-3} | params, "")


def test_the_best_has_a_figure_and_the_right_sign():
    rows = [row(0, 5.0), row(1, 3.0), row(2, 9.0), row(3, None, "fail"), row(4, 1.0, "pruned")]
    assert comparison.best(rows, "minimize") is rows[1]
    assert comparison.best(rows, "maximize") is rows[2]
    assert comparison.best(rows[3:], "minimize") is None


def test_the_table_and_the_picture_are_there_and_nothing_else_is_drawn(tmp_path):
    fixed = planned("train.latent_dim=8,16", f"{RATE}=1e-5..1e-1:log")
    comparison.write(tmp_path, fixed, [row(0, None, "fail")], "minimize")
    assert not (tmp_path / comparison.PICTURE).exists()
    comparison.write(tmp_path, fixed, [row(0, 2.0), row(1, 1.0, **{RATE: 0.05})], "minimize")
    with (tmp_path / comparison.TABLE).open() as table:
        rows = list(csv.DictReader(table))
    assert [(one["frechet"], one[RATE]) for one in rows] == [("2.0", "0.001"), ("1.0", "0.05")]
    with Image.open(tmp_path / comparison.PICTURE) as picture:
        assert picture.size[0] > 900, "a panel for each parameter and one for the course"


def test_a_trial_belongs_to_the_project_around_it(tmp_path):
    for place in (tmp_path, tmp_path / "products" / "cats"):
        trial = place / "sweeps" / "first" / "003"
        trial.mkdir(parents=True)
        (place / products.STAGES).touch()
        assert products.home(trial) == tmp_path.resolve()
    assert products.home(tmp_path / "sweeps" / "first") == (tmp_path / "sweeps" / "first")


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["first"], 2, "no sweep of this name was begun here"),
        (["first", "--take"], 2, "no sweep of this name was begun here"),
        (["first", "--vary", "train.latent_dim=8,9", "--figure", "copying"], 2,
         "no figure that can decide"),
        (["first", "--vary", "train.latent_dim=0,9"], 2, "train.latent_dim: must be at least 1"),
        (["first", "--vary", "train.latent_dim=8,9", "--runner", "dask"], 2,
         "need a Prefect server"),
        (["first", "--vary", "train.latent_dim=8,9", "--workers", "0"], 2, "at least 1, got 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept_is_said_in_a_line_and_leaves_nothing(
    tmp_path, monkeypatch, capsys, typed, code, said
):
    (tmp_path / "params.yaml").write_text("{}\n")
    (tmp_path / "data" / "raw").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert command.main(typed) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("sweep: ")
    assert said in told.err
    assert not (tmp_path / "sweeps").exists()
