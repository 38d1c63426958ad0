"""One of several ranks: trains a little, and rank 0 writes down gradients and weights.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=... MASTER_PORT=... python train_as_rank.py PREPARED OUT
"""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from monge import objectives
from monge.data.batches import Batches
from monge.data.packed import PackedDataset
from monge.params import TrainParams
from monge.training.machine.execution import execution
from monge.training.machine.ranks import join
from monge.training.state import TrainingState

CPU = torch.device("cpu")
METHODS = ("wgan", "wgan-gp", "gan", "rpgan", "vae", "wae-mmd", "wae-gan")
CASES = [
    (net, objective, norm)
    for net, norm in (("mlp", "none"), ("dcgan", "instance"), ("dcgan", "batch"))
    for objective in METHODS
    if objective in (("wgan", "gan") if norm == "batch" else METHODS)
] + [("resnet", "wgan-gp", "none")]


def main():
    torch.set_num_threads(1)
    dataset = PackedDataset.open(Path(sys.argv[1]))
    ranks, kept = join(CPU), {}
    for net, objective_name, norm in CASES:
        generator_norm = "virtual" if (net, objective_name) == ("mlp", "wgan-gp") else "none"
        train = TrainParams.model_validate(
            {
                "net": net, "objective": objective_name, "batch_size": 16, "latent_dim": 8,
                "mlp": {"depth": 2, "width": 32, "generator_norm": generator_norm}, "flip": True,
                "dcgan": {"features": 4, "critic_norm": norm},
                "resnet": {"features": 4},
                "gan": {"instance_noise": 0.5, "label_smoothing": 0.1},
                "wae-mmd": {"encoder": "gaussian", "input_noise": 0.1, "warm_start": 1},
            }
        )  # fmt: skip
        objective = objectives.build(train, execution(train, CPU, ranks))
        state = TrainingState(train, objective, dataset.image_shape, CPU, ranks.share)
        ranks.start_together(state)
        name = f"{net}-{objective_name}-{norm}"
        with Batches(dataset.train, train, CPU, share=ranks.share) as batches:
            reals = batches.starting_at(0)
            counts = [
                2 if objective_name == "wae-mmd" else 1,
                1,
                1,
            ]  # a warm start before the first
            for step in range(3):
                readings = ranks.mean(
                    objective.iterate(
                        state.networks, state.optimizers, reals, state.noise, counts[step]
                    )
                )
                state.advance(16)
                ranks.agree(state, stop=False)
                if step == 0:
                    for role, network in state.networks.items():
                        for weight, tensor in network.named_parameters():
                            assert tensor.grad is not None
                            kept[f"{name}.gradient.{role}.{weight}"] = tensor.grad.clone()
                    kept |= {f"{name}.reading.{key}": value for key, value in readings.items()}
            for role, network in state.networks.items():
                for key, buffer in network.named_buffers():
                    kept[f"{name}.statistics.{role}.{key}"] = buffer
        ranks._compare(state) if ranks.world > 1 else None
    if ranks.first:
        save_file({key: value.contiguous() for key, value in kept.items()}, sys.argv[2])


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
