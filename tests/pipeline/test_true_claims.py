"""Protects: whatever is edited, run, killed, moved, copied or restored, no record is false.

Random walks over a tiny project. After each step everything that a record claims is compared with a
fresh training by the recorded code, with the recorded parameters, on the recorded data: the weights
of the newest checkpoint and the images of the exported file, bit by bit. MONGE_WALKS=50 walks more.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from PIL import Image

from monge.paths import Paths
from monge.serving.sampler import Sampler
from monge.stages import dvc_lock, lock_and_code
from monge.training.checkpoints import record
from tests.pipeline import oracle
from tests.pipeline.conftest import ROOT, Project
from tests.pipeline.test_lock import setting

pytestmark = pytest.mark.timeout(3000)
WALKS = int(os.environ.get("MONGE_WALKS", "0"))
RULE = "src/monge/objectives/wgan_gp.py"
TARGETS = ("(norms - 1.0)", "(norms - 1.5)")
SEEDS = st.integers(0, 2)
TRAIN = {
    "objective": "wgan-gp", "steps": 12, "batch_size": 8, "latent_dim": 4,
    "mlp": {"depth": 1, "width": 8},
    "learning_rate_decay": "none", "log_every": 6, "grid_every": 1000, "quality_every": 1000,
    "checkpoint_every": 4, "threads": 1,
}  # fmt: skip
LONG = 40_000  # steps of a training that is stopped in the middle


def draw(folder, number):
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{number}.png")


class Oracle:
    """What fresh trainings give, each found once: by code, parameters and data."""

    def __init__(self, folder):
        self.folder, self.known, self.sources, self.datasets = folder, {}, {}, {}
        self.targets = {}  # of the penalty, by the digest of the code that has it

    def code(self, target):
        """The sources with this target of the penalty, saved for later."""
        if target not in self.sources:
            place = self.folder / f"code-{len(self.sources)}"
            shutil.copytree(
                ROOT / "src", place, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
            path = place / RULE.removeprefix("src/")
            text = path.read_text()
            assert TARGETS[0] in text
            path.write_text(text.replace(TARGETS[0], target))
            self.sources[target] = place
        return self.sources[target]

    def keep(self, prepared):
        """Save a packed dataset by its content hash."""
        content = json.loads((prepared / "manifest.json").read_text())["content_hash"]
        if content not in self.datasets:
            self.datasets[content] = self.folder / f"data-{len(self.datasets)}"
            shutil.copytree(prepared, self.datasets[content])

    def ask(self, digest, content, train, export):
        """Weights and images of a fresh training by the code of a digest."""
        for target in TARGETS:
            if self.targets.get(digest, target) == target:
                told = self._run(target, content, train, export)
                self.targets[told["code"]] = target
                if told["code"] == digest:
                    return told
        raise AssertionError(f"no code that was written here has the digest {digest}")

    def _run(self, target, content, train, export):
        key = json.dumps([target, content, train, export], sort_keys=True)
        if key not in self.known:
            with tempfile.TemporaryDirectory(dir=self.folder) as place:
                done = subprocess.run(
                    [sys.executable, oracle.__file__, self.datasets[content], place],
                    input=json.dumps({"train": train, "export": export}), text=True,
                    capture_output=True, env=os.environ | {"PYTHONPATH": str(self.code(target))},
                )  # fmt: skip
            assert done.returncode == 0, done.stderr
            self.known[key] = json.loads(done.stdout.splitlines()[-1])
        return self.known[key]


class Walk(RuleBasedStateMachine):
    """One project, and whatever people and machines do to it."""

    truth: Oracle

    @initialize()
    def begin(self):
        self.base = Path(tempfile.mkdtemp(dir=self.truth.folder))
        self.project, self.places = Project(self.base / "project 0"), 1
        shutil.copy(ROOT / ".gitignore", self.project.folder / ".gitignore")
        images = self.project.folder / "data/pictures"
        images.mkdir(parents=True)
        for number in range(12):
            draw(images, number)
        self.images, self.commits, self.target = 12, [], TARGETS[0]
        setting(
            self.project, prepare={"source": "folder", "path": "data/pictures"}, train=TRAIN,
            export={"checkpoint": "last"},
        )  # fmt: skip
        self.sh("dvc", "remote", "add", "--default", "store", self.base / "store")
        self.commit()

    def teardown(self):
        self.project.end()
        shutil.rmtree(self.base, ignore_errors=True)

    def sh(self, *command, check=True, **environment):
        own = {"MONGE_TRACKING": "off"}
        return self.project.run(*command, check=check, **(own | environment))

    def start(self, *command, **environment):
        own = {"MONGE_TRACKING": "off"}
        return self.project.start(*command, **(own | environment))

    def commit(self):
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        self.sh("git", "add", "--all")
        self.sh("git", *who, "commit", "--quiet", "--allow-empty", "--message", "a step")
        self.commits.append(self.sh("git", "rev-parse", "HEAD").stdout.strip())

    def training(self):
        return record.read(self.project.folder / "checkpoints") or {"sessions": []}

    def until_training(self, seed, process):
        """Until a training of this seed, to its long end, has written a checkpoint."""
        end = time.monotonic() + 240
        while time.monotonic() < end:
            sessions = self.training()["sessions"]
            asked = sessions[-1]["parameters"] if sessions else {}
            if (asked.get("seed"), asked.get("steps")) == (seed, LONG) and list(
                self.project.folder.glob("checkpoints/step-*")
            ):
                return
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
        raise AssertionError("no training within four minutes")

    # What people do.

    @rule(seed=SEEDS)
    def edit_a_parameter(self, seed):
        setting(self.project, train={"seed": seed})

    @rule(every=st.integers(2, 5))
    def edit_one_that_changes_no_weight(self, every):
        setting(self.project, train={"log_every": every})

    @rule(aim=st.sampled_from(TARGETS))
    def edit_code_that_decides_bits(self, aim):
        path = self.project.folder / RULE
        text = path.read_text()
        path.write_text(text.replace(next(t for t in TARGETS if t in text), aim))

    @rule(number=st.integers(0, 99))
    def edit_a_comment(self, number):
        path = self.project.folder / RULE
        path.write_text(f"{path.read_text()}# {number}\n")

    @rule()
    def bring_an_image(self):
        draw(self.project.folder / "data/pictures", self.images)
        self.images += 1

    @rule()
    def run(self):
        self.sh("dvc", "repro", "export")

    @rule(seed=SEEDS)
    def run_with_parameters_of_its_own(self, seed):
        """As the flow does: a file of its own, one process a stage."""
        path = self.base / "own.yaml"
        shutil.copy(self.project.folder / "params.yaml", path)
        text = path.read_text()
        here = self.training()["sessions"]
        path.write_text(_with_seed(text, seed))
        for stage, _ in dvc_lock.untrue(Paths(self.project.folder)).items():
            dvc_lock.distrust(Paths(self.project.folder), stage)
        for stage in ("prepare", "train", "export"):
            self.sh(
                sys.executable, "-m", "pipelines.frozen_dvc", "repro", "--single-item", stage,
                MONGE_PARAMS_FILE=str(path),
            )  # fmt: skip
        assert self.training()["sessions"][-1]["parameters"]["seed"] == seed, here

    @rule(seed=SEEDS, then=SEEDS)
    def edit_while_a_training_runs(self, seed, then):
        setting(self.project, train={"seed": seed, "steps": 60})
        process = self.start("dvc", "repro", "export")
        end = time.monotonic() + 240
        while process.poll() is None and time.monotonic() < end:
            sessions = self.training()["sessions"]
            if sessions and sessions[-1]["parameters"]["steps"] == 60:
                break
            time.sleep(0.02)
        setting(self.project, train={"seed": then, "steps": TRAIN["steps"]})
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert self.training()["sessions"][-1]["parameters"]["seed"] == seed

    @rule(seed=SEEDS)
    def kill(self, seed):
        setting(self.project, train={"seed": seed, "steps": LONG})
        process = self.start("dvc", "repro", "export")
        self.until_training(seed, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        setting(self.project, train={"steps": TRAIN["steps"]})

    @rule(seed=SEEDS)
    def run_two_at_once(self, seed):
        """One gives up at DVC's locks, or both do their work; neither makes anything false."""
        processes = [self.start("dvc", "repro", "export"), self.start("dvc", "repro", "export")]
        setting(self.project, train={"seed": seed})
        for process in processes:
            process.communicate(timeout=300)

    @rule()
    def move(self):
        place = self.base / f"project {self.places}"
        self.project.folder.rename(place)
        self.project.folder, self.places = place, self.places + 1

    @rule()
    def copy_and_go_on_in_the_copy(self):
        place = self.base / f"project {self.places}"
        shutil.copytree(self.project.folder, place, symlinks=True)
        self.project.folder, self.places = place, self.places + 1

    @rule(seed=SEEDS)
    def run_an_experiment_aside_and_apply_it(self, seed):
        self.commit()
        name = f"experiment-{self.places}"
        self.places += 1
        self.sh("dvc", "exp", "run", "--temp", "--name", name, "-S", f"train.seed={seed}", "export")
        self.sh(
            "dvc", "exp", "apply", name, check=False
        )  # it misses the report, which was not made
        assert self.training()["sessions"][-1]["parameters"]["seed"] == seed

    @precondition(lambda self: (self.project.folder / "dvc.lock").exists())
    @rule()
    def pull_into_a_clone(self):
        self.commit()
        self.sh("dvc", "push")
        place = self.base / f"project {self.places}"
        self.sh("git", "clone", "--quiet", self.project.folder, place)
        shutil.copytree(  # in git here, as DVC would have it elsewhere
            self.project.folder / "data/pictures", place / "data/pictures", dirs_exist_ok=True
        )
        self.project.folder, self.places = place, self.places + 1
        self.sh("dvc", "pull", "--allow-missing")

    @rule(which=st.integers(0, 10))
    def restore_an_earlier_commit(self, which):
        self.commit()
        self.sh("git", "checkout", "--quiet", self.commits[which % len(self.commits)])
        self.sh("dvc", "checkout", "--allow-missing", check=False)

    @rule(seed=SEEDS)
    def claim_by_hand_what_did_not_happen(self, seed):
        """The one lie that DVC cannot see: it is found by the flow's check, and made true."""
        if not (self.project.folder / "models/generator.onnx").exists():
            return
        setting(self.project, train={"seed": seed, "steps": 8})
        self.sh("dvc", "commit", "--force", check=False)
        paths = Paths(self.project.folder)
        for stage in dvc_lock.untrue(paths):
            assert dvc_lock.distrust(paths, stage)
        setting(self.project, train={"steps": TRAIN["steps"]})

    @rule(aim=st.sampled_from(TARGETS))
    def claim_by_hand_that_edited_code_did_it(self, aim):
        """The same of the code: DVC's hashes of it say nothing of what ran."""
        if not (self.project.folder / "models/generator.onnx").exists():
            return
        self.edit_code_that_decides_bits(aim)
        self.sh("dvc", "commit", "--force", check=False)
        paths = Paths(self.project.folder)
        if lock_and_code.has_this_code(paths) and lock_and_code.other_code(paths):
            assert dvc_lock.distrust(paths, "train")

    # What must hold.

    @invariant()
    def every_record_is_true(self):
        if not hasattr(self, "project"):
            return
        paths = Paths(self.project.folder)
        if (paths.prepared / "manifest.json").exists():
            self.truth.keep(paths.prepared)
        self._checkpoints_are_what_they_say(paths)
        self._the_file_is_what_it_says(paths)
        current = self._up_to_date(paths)
        assert current.isdisjoint(dvc_lock.untrue(paths)), "dvc.lock claims what did not happen"
        if "train" in current:
            made, text = self.training(), (self.project.folder / RULE).read_text()
            steps = made["sessions"][-1]["parameters"]["steps"]
            assert (paths.checkpoints / f"step-{steps:08d}").is_dir()
            assert self.truth.targets[made["code"]["digest"]] in text, "other code is claimed"
        if "export" in current:
            made, contract = self.training(), Sampler.load(paths.model, "cpu").contract
            manifest = json.loads((paths.prepared / "manifest.json").read_text())
            claimed = (contract.code, contract.run, contract.dataset_hash)
            assert claimed == (made["code"]["digest"], made["key"], manifest["content_hash"])

    def _checkpoints_are_what_they_say(self, paths):
        made, newest = record.read(paths.checkpoints), sorted(paths.checkpoints.glob("step-*"))
        if made is None or not made["sessions"] or not newest:
            return
        state = json.loads((newest[-1] / "state.json").read_text())
        train = made["sessions"][-1]["parameters"] | {"steps": state["step"]}
        content = state["fingerprint"]["dataset"]
        told = self.truth.ask(made["code"]["digest"], content, train, {"checkpoint": "last"})
        assert oracle.weights_hash(newest[-1]) == told["weights"]

    def _the_file_is_what_it_says(self, paths):
        if not paths.model.exists():
            return
        contract = Sampler.load(paths.model, "cpu").contract
        train = dict(contract.parameters) | {"steps": contract.step}
        export = dict(contract.export_parameters)
        told = self.truth.ask(contract.code, contract.dataset_hash, train, export)
        assert oracle.images_hash(paths.model) == told["images"]

    def _up_to_date(self, paths):
        """The stages that DVC takes for done."""
        lock = dvc_lock._read(paths).get("stages", {})
        stale = json.loads(self.sh("dvc", "status", "--json").stdout.splitlines()[-1])
        return set(lock) - set(stale)


def _with_seed(text, seed):
    """A parameter file's text with another seed of the training."""
    head, train, rest = text.partition("\ntrain:\n")
    before, found, after = rest.partition("  seed: ")
    assert train
    assert found
    return f"{head}{train}{before}{found}{seed}\n{after.partition(chr(10))[2]}"


def test_a_walk_over_everything_that_people_do_makes_no_record_false(tmp_path):
    """Each step of the random walks once, in an order that has made something of most of them."""
    Walk.truth = Oracle(tmp_path)
    walk = Walk()
    walk.begin()
    steps = (
        walk.run, lambda: walk.edit_one_that_changes_no_weight(4),
        lambda: walk.edit_code_that_decides_bits(TARGETS[1]), lambda: walk.edit_a_comment(1),
        lambda: walk.edit_while_a_training_runs(1, 0), walk.bring_an_image,
        lambda: walk.run_with_parameters_of_its_own(2), lambda: walk.kill(2), walk.run, walk.move,
        lambda: walk.run_two_at_once(1), lambda: walk.edit_a_parameter(0),
        lambda: walk.run_an_experiment_aside_and_apply_it(2), walk.copy_and_go_on_in_the_copy,
        walk.pull_into_a_clone, lambda: walk.restore_an_earlier_commit(0),
        lambda: walk.claim_by_hand_what_did_not_happen(1), walk.run,
        lambda: walk.claim_by_hand_that_edited_code_did_it(TARGETS[1]),
    )  # fmt: skip
    for step in steps:
        step()
        walk.every_record_is_true()
    walk.teardown()


def test_no_walk_makes_a_record_false(tmp_path):
    Walk.truth = Oracle(tmp_path)
    how = settings(
        max_examples=WALKS or 2, stateful_step_count=30 if WALKS else 7, deadline=None,
        derandomize=not WALKS, phases=[Phase.generate], database=None,
        suppress_health_check=list(settings.get_profile("default").suppress_health_check),
    )  # fmt: skip
    run_state_machine_as_test(Walk, settings=how)
