"""Bulk generation as a flow: shards mapped over workers, and not made twice."""

import sys

from monge.serving import bulk
from monge.serving.sampler import Sampler


def test_the_flow_fills_a_folder_and_goes_on_where_it_broke_off(tmp_path, model, project):
    command = [
        sys.executable, "-m", "pipelines.generate", model, tmp_path / "out", "-n", 450,
        "--seed", 3, "--shard-size", 100,
    ]  # fmt: skip
    sampler = Sampler.load(model, "cpu")
    whole = bulk.Plan(n=450, seed=3, shard_size=100, model_hash=sampler.model_hash)
    bulk.begin(tmp_path / "out", whole)
    bulk.write_shard(sampler, tmp_path / "out", whole, 2)
    before = (tmp_path / "out" / whole.name(2)).stat()
    told = project.run(*command).stdout
    assert "1 of 5 shards are there" in told
    assert "450 images in" in told
    assert bulk.missing(tmp_path / "out", whole) == []
    assert (tmp_path / "out" / whole.name(2)).stat() == before
    bulk.write(sampler, tmp_path / "alone", whole)
    for shard in range(whole.shards):
        name = whole.name(shard)
        alone = (tmp_path / "alone" / name).read_bytes()
        assert (tmp_path / "out" / name).read_bytes() == alone
