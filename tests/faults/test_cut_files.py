"""A power cut: every file that is written and read back is told for what it is, cut at any byte.

The real writer writes a file, it is cut, and the real reader reads it: it says in a line which file
it is and what to do, or takes up as if the file, or the line that was cut, had not been written.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monge import files, servers
from monge.data.packed import PackedDataset
from monge.data.writer import PackedWriter
from monge.errors import Diverged, MongeError
from monge.evaluation import document
from monge.paths import Paths
from monge.registry import Version
from monge.registry.promote import Promotion
from monge.serving import batch_size, bulk
from monge.serving.latents_file import LatentsFile
from monge.serving.sampler import Sampler
from monge.stages import dvc_lock, lineage, noticing, promoting
from monge.tracking import memory, rebuild, spool
from monge.training.checkpoints import checkpoint, record
from monge.training.forecast import cost
from monge.training.watch import guards, quality
from monge.training.watch.history import History
from monge.versions import content, drift, pending, records
from monge.versions.dvc import Tracked
from pipelines import summary
from pipelines.stack import passwords, process, settings, supervisor, up
from pipelines.sweep import plan
from studies import record as studied
from tests.running import write as write_generator

MD5 = "0123456789abcdef" * 2
LOCK = f"""schema: '2.0'
stages:
  prepare:
    cmd: sh pipelines/monge prepare -- resolution=8
    deps:
    - path: data/images
      hash: md5
      md5: {MD5}.dir
      size: 7182
      nfiles: 4
    outs:
    - path: data/prepared
      hash: md5
      md5: {MD5[::-1]}.dir
      size: 9182
      nfiles: 6
"""
SWEEP = plan.Plan(("train.latent_dim=8,16",), "grid", "frechet", 0, True, 2, "{}\n")
SHARDS = bulk.Plan(n=100, shard_size=10)
VERSION = records.Record(1, "data/images", f"{MD5}.dir", "2026-01-01", "me", 12, 3)


@dataclass(frozen=True)
class Case:
    """How a file is written and read; of one of `lines` those before the cut count."""

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    lines: bool = False
    between: int = 100
    """How many cuts there are between the first and the last bytes."""


def spooled(root: Path) -> Path:
    mine = spool.own(root, "key")
    for step in range(3):
        mine.append({"time_ms": step, "kind": "metrics", "values": {"loss": step / 3}})
    mine.mark(mine.unsent(2)[1])
    mine.release()
    return root / "spool/key/events.jsonl"


def events(root: Path) -> Any:
    mine = spool.own(root, "key")
    mine.release()
    return list(mine.events())


def unsent(root: Path) -> Any:
    mine = spool.own(root, "key")
    try:
        return mine.unsent(100)
    finally:
        mine.release()


def remembered(root: Path) -> Path:
    memory.remember(root, "key", address="http://here", run_id="7", highest={"loss": 70})
    return root / "runs/key.json"


def looked(root: Path) -> Path:
    windows = [drift.Window("2026-01-01", 12, 0.1, 0.2)]
    noticing._keep(Paths(root), "hash", noticing._State(windows, np.zeros(3, "V16")), 8)
    return noticing._file(Paths(root))


def seen(root: Path) -> Path:
    found = content.Content({"a.png": "1"}, [np.zeros(4, np.uint8)], {"b.png": "torn"})
    content.remember(found, "version", root / "seen.npz")
    return root / "seen.npz"


def recalled(root: Path) -> Any:
    found = content.recall("version", root / "seen.npz")
    return found and (found.hashes, found.rejected)


def half_added(root: Path) -> Path:
    pending.begin_addition(Paths(root), pending.Addition(root / "made", root / "place", VERSION))
    return root / ".monge/data-pending.json"


def ended(root: Path) -> Any:
    (root / "made").write_text("")
    list(pending.finish(Paths(root), Tracked(root, "images")))
    return (root / "made").exists()


def recorded(root: Path) -> Path:
    for number in (1, 2):
        records.append(Paths(root), replace(VERSION, version=number))
    return Paths(root).versions


def tracked(root: Path) -> Path:
    path = root / "images.dvc"
    path.write_text(f"outs:\n- md5: {MD5}.dir\n  size: 7\n  hash: md5\n  path: images\n")
    Tracked(root, "images").point_at(f"{MD5}.dir")
    return path


def pointed(root: Path) -> Any:
    Tracked(root, "images").point_at(f"{MD5[::-1]}.dir")
    return Tracked(root, "images").hash()


def locked(root: Path) -> Path:
    (root / "dvc.lock").write_text(LOCK)  # as DVC does
    return root / "dvc.lock"


def of_lock(root: Path) -> Any:
    hashes = dvc_lock.hashes(Paths(root), "prepare", ("data/images", "data/prepared"))
    assert set(hashes.values()) <= {f"{MD5}.dir", f"{MD5[::-1]}.dir"}
    return hashes, dvc_lock.sections_before("train", Paths(root))


def promoted(root: Path) -> Path:
    version = Version("digits", 1, None, "hash")
    promotion = Promotion(version, version, True, "the first")
    promoting._note_promotion(Paths(root), "version 1.", "near", promotion, "http://page")
    return Paths(root).promotion


def sized(root: Path) -> Path:
    batch_size._write({"key": 64, "other": 8})
    return root / "monge/batch-sizes.json"


def planned(root: Path) -> Path:
    bulk.begin(root / "shards", SHARDS)
    return root / "shards" / bulk.PLAN


def begun_before(root: Path) -> Any:
    there = (root / "shards" / bulk.PLAN).exists()
    bulk.begin(root / "shards", SHARDS)
    return there


def encoded(root: Path) -> Path:
    made = LatentsFile(np.ones((2, 3), np.float32), "hash", ("a.png", "b.png"))
    files.deliver(root / "latents.npz", made.to_bytes())
    return root / "latents.npz"


def swept(root: Path) -> Path:
    plan.begin(root / "sweep", SWEEP)
    return root / "sweep/plan.json"


def tried(root: Path) -> Path:
    study = plan.memory(root, SWEEP, "minimize")
    for task in (0, 1):
        study.tell(plan.trial_of(study, SWEEP, task), task / 2)
    return root / "journal"


def trials(root: Path) -> Any:
    study = plan.memory(root, SWEEP, "minimize")
    found = [(one.value, one.state.name) for one in study.get_trials(deepcopy=False)]
    plan.trial_of(study, SWEEP, 7)  # a trial more is written behind
    assert len(plan.memory(root, SWEEP, "minimize").trials) == len(found) + 1
    return found


def of_up(root: Path) -> settings.Place:
    place = settings.Place(root)
    place.state.mkdir(parents=True, exist_ok=True)
    return place


def chosen(root: Path) -> Path:
    settings.keep(of_up(root), settings.Settings(mlflow_port=5050))
    return of_up(root).settings


def secret(root: Path) -> Path:
    passwords.load(of_up(root).state)
    return of_up(root).state / passwords.FILE


def running(root: Path) -> Path:
    me = process.Running(os.getpid(), process.birth(os.getpid()), 1.0, "made of")
    files.write_whole(process._file(root, "me"), json.dumps(asdict(me)).encode())
    return process._file(root, "me")


def reported(root: Path) -> Path:
    supervisor._write(of_up(root), {}, 3)
    return of_up(root).report


def told(root: Path) -> Path:
    of_up(root)
    up._tell_clients(of_up(root), settings.Settings(), passwords.Passwords(*"abcde"))
    return root / servers.FILE


def judged(root: Path) -> Path:
    entry = {"value": 1.0, "noise": 0.1, "protocol": {"generator_hash": "h"}}
    text = document.to_bytes({"frechet": entry}, {"evaluate": {"images": 7}})
    files.write_whole(Paths(root).metrics, text)
    return Paths(root).metrics


def kept(name: str) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        for step in (100, 200):
            made = checkpoint.write(root, step, {"weight": torch.arange(6.0)}, {"of": "this"})
        return made / name

    return write


def newest(root: Path) -> Any:
    found = checkpoint.latest(root)
    return found and (found.step, found.tensors["weight"].tolist())


def begun(root: Path) -> Path:
    record.run_key(root)
    return root / record.FILE


def diverged(root: Path) -> Path:
    guards._go_back(root, Diverged("it diverged"))
    return root / guards.DIVERGENCE


def curve(root: Path) -> Path:
    history = History(root, 0, "estimate")
    for step in (1, 2, 3):
        history.append(step, {"estimate": step / 3})
    return history.path


def gone_on(root: Path) -> Any:
    History(root, 3, "estimate").append(4, {"estimate": 1.0})
    return [line.split(",")[:2] for line in (root / "history.csv").read_text().splitlines()]


def compared(root: Path) -> Path:
    quality.write(root, [quality.Look(10, 1 / 3), quality.Look(20, 2 / 3)])
    return root / quality.TABLE


def metered(root: Path) -> Path:
    with cost.metered(root / "cost.json", "run", counters=root):
        return root / "cost.json"


def packed(name: str) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        with PackedWriter(root / "prepared", (1, 4, 4), ["a", "b"]) as writer:
            for split in ("train", "validation"):
                writer.append(split, np.zeros((3, 1, 4, 4), np.uint8), np.array([0, 1, 0]))
            writer.finish()
        return root / "prepared" / name

    return write


def opened(root: Path) -> Any:
    return PackedDataset.open(root / "prepared").content_hash


def studied_once(root: Path) -> Path:
    text = json.dumps({"study": "wgan/lines", "code": "c", "images": "", "numbers": []})
    files.write_whole(root / "study.json", text.encode())
    return root / "study.json"


def lineage_of(root: Path) -> Path:
    facts = {"missing": "", "revision": "abc", "model_sha256": "f" * 64}
    files.write_whole(root / lineage.FACTS, json.dumps(facts).encode())
    return root / lineage.FACTS


CASES = {
    "figures that wait": Case(spooled, events, lines=True),
    "how far they were sent": Case(lambda root: spooled(root).with_name("sent.json"), unsent),
    "what is known of a run": Case(remembered, lambda root: memory.recall(root, "key")),
    "windows of new images": Case(
        looked, lambda root: noticing._state(Paths(root), "hash").windows
    ),
    "content of a version": Case(seen, recalled),
    "an addition on its way": Case(half_added, ended),
    "versions": Case(recorded, lambda root: records.read(Paths(root)), lines=True),
    "hash of the images": Case(tracked, lambda root: Tracked(root, "images").hash()),
    "hash that is replaced": Case(tracked, pointed),
    "dvc.lock": Case(locked, of_lock, lines=True),
    "promotion": Case(promoted, lambda root: summary.promotion_facts(Paths(root))),
    "batch sizes": Case(sized, lambda root: batch_size._read()),
    "plan of shards": Case(planned, begun_before),
    "latents": Case(encoded, lambda root: LatentsFile.read(root / "latents.npz").names),
    "plan of a sweep": Case(swept, lambda root: plan.read(root / "sweep")),
    "trials of a sweep": Case(tried, trials, lines=True, between=20),
    "settings of make up": Case(chosen, lambda root: settings.kept(of_up(root))),
    "passwords": Case(secret, lambda root: passwords.load(of_up(root).state)),
    "a server's process": Case(running, lambda root: process.known(root, "me")),
    "report of make up": Case(reported, lambda root: supervisor.report(of_up(root))),
    "servers of make up": Case(told, servers.read),
    "metrics.json": Case(judged, lambda root: document.read(Paths(root).metrics)),
    "metrics.json's parameters": Case(judged, lambda root: document.made(Paths(root).metrics)),
    "tensors of a checkpoint": Case(kept("tensors.safetensors"), newest),
    "state of a checkpoint": Case(kept("state.json"), newest),
    "sums of a checkpoint": Case(kept("SHA256SUMS"), newest),
    "record of a training": Case(begun, record.read),
    "a divergence": Case(diverged, guards._halved_from),
    "curve that goes on": Case(curve, gone_on, lines=True),
    "curve that is sent": Case(
        curve, lambda root: list(rebuild._rows(root / "history.csv")), lines=True
    ),
    "quality.csv": Case(compared, quality.read, lines=True),
    "cost": Case(metered, lambda root: cost._read(root / "cost.json")),
    "manifest": Case(packed("manifest.json"), opened),
    "images": Case(packed("train.npy"), opened),
    "labels": Case(packed("train-labels.npy"), opened),
    "generator": Case(
        lambda root: write_generator(root / "generator.onnx"),
        lambda root: Sampler.load(root / "generator.onnx").model_hash,
    ),
    "lineage of a version": Case(lineage_of, lambda root: lineage.commands(root, root)),
    "record of a study": Case(studied_once, lambda root: studied.read_one(root / "study.json")),
}


def cuts(size: int, most: int) -> list[int]:
    """Every byte of a small file; of a large one its first and last, and some between."""
    between = range(0, size, max(1, size // most))
    return sorted({*range(min(size, 12)), *between, *range(max(0, size - 12), size)})


def read(case: Case, root: Path, file: Path) -> Any:
    """What is read; of an error what it says, which has to be a line that names the file."""
    try:
        return case.read(root)
    except MongeError as error:
        said = str(error)
    assert file.name in said or f"{file.parent}: damaged" in said or not file.exists(), said
    assert "\n" not in said
    return MongeError


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_was_cut_is_said_to_be_or_counts_as_absent(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MONGE_SERVERS", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    caplog.set_level(logging.CRITICAL)
    case = CASES[name]
    file = case.write(tmp_path)
    whole = file.read_bytes()
    good = read(case, tmp_path, file)
    file.unlink(missing_ok=True)
    absent = read(case, tmp_path, file)
    assert good not in (absent, MongeError), "the test would see no difference"

    def after(end: int) -> Any:
        file.write_bytes(whole[:end])
        return read(case, tmp_path, file)

    for size in cuts(len(whole), case.between):
        allowed = [MongeError, absent, *([] if whole[size:].strip() else [good])]
        if case.lines:
            allowed += [after(whole.rfind(b"\n", 0, size) + 1)]
            # One that lost nothing but its end may count as well.
            allowed += [after(size + 1)] if whole[size : size + 1] == b"\n" else []
        found = after(size)
        assert found in allowed, f"cut at {size} of {len(whole)} it reads as {found}"


def test_figures_that_come_after_a_cut_are_sent(tmp_path: Path) -> None:
    spooled(tmp_path).write_bytes(b"")
    for step in (7, 8, 9):
        mine = spool.own(tmp_path, "key")  # each a writer that is killed before it sends
        mine.append({"kind": "metrics", "step": step, "values": {"loss": 1.0}})
        mine.release()
    assert [event["step"] for event in unsent(tmp_path)[0]] == [7, 8, 9]


def test_a_lock_of_dvcs_that_was_cut_is_moved_away_and_a_whole_one_stays(tmp_path: Path) -> None:
    lock, paths = locked(tmp_path), Paths(tmp_path)
    assert dvc_lock.set_aside_cut(paths) is None
    lock.write_text(LOCK[:150])
    assert dvc_lock.set_aside_cut(paths) == tmp_path / ".monge/dvc.lock.cut"
    assert not lock.exists()
    assert dvc_lock.set_aside_cut(paths) is None


def test_who_has_half_a_file_of_servers_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("MONGE_SERVERS", "")
    file = told(tmp_path)
    file.write_bytes(file.read_bytes()[:-9])
    assert "cut short: the embedded servers are used. `make up` mends it" in servers.use(tmp_path)
    assert not os.environ.get("MLFLOW_TRACKING_URI")


def test_a_file_takes_its_name_only_when_it_is_on_the_disk_and_so_does_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.replace

    def synced(handle: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def renamed(*names: Any) -> None:
        done.append("name")
        rename(*names)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    files.write_whole(tmp_path / "file", b"whole")
    passwords.write_private(tmp_path / "private", "whole")
    assert done == ["file", "name", "folder"] * 2
