"""Edits of the package by what they are, a row each."""

# ruff: noqa: E501

from typing import Any

ALIKE: dict[str, tuple[Any, ...]] = {
    "a comment": ("training/average.py", "        half_life = min(", "        # Why.\n        half_life = min("),
    "a docstring": ("objectives/slope.py", "position * real + (1 - position) * fake, one", "One"),
    "a module's docstring": ("training/loop.py", "The training loop: ", "A loop: "),
    "a constant's docstring": ("training/average.py", '"""The half-life never', '"""It never'),
    "a blank line": ("training/average.py", "        half_life = min(", "\n        half_life = min("),
    "a longer line": ("objectives/optimizers.py", "betas=betas, fused=True,", "betas=betas,\n fused=True"),
    "a log line": ("data/batches.py", "up to %s may be kept on %s", "at most %s may stay on %s"),
    "a log line more": ("training/average.py", "        half_life = min(", "        import logging\n        logging.info('averaging %d', batch_size)\n        half_life = min("),
    "an error's words": ("training/state.py", "Make it narrower ", "Make it smaller "),
    "figures in an error": ("training/state.py", "{free / 2**30:,.1f} GiB are free", "{free / 2**20:,.1f} MiB are free"),
    "the words of an error that a function makes": ("data/batches.py", "Use train.data: streamed.", "Stream them."),
    "an annotation": ("training/average.py", "half_life_images: int) -> None", "half_life_images: float) -> object"),
    "an annotated local": ("objectives/slope.py", "    norms: Tensor = torch", "    norms = torch"),
    "a local": ("training/watch/quality.py", "lowest", "least", 4),
    "a parameter": ("objectives/slope.py", "position", "place", 7),
    "an imported module's alias": ("training/average.py", "import copy", "import copy as twin"),
    "another way to a library's function": ("metrics/pyramid.py", "import torch.nn.functional as F", "from torch.nn import functional as F"),
    "an import for types": ("training/average.py", "WARM_UP = 0.05", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import json\nWARM_UP = 0.05"),
    "what only looks": ("training/watch/journal.py", "_LOG_LINE_EVERY_S = 10.0", "_LOG_LINE_EVERY_S = 20.0"),
    "what nothing refers to": ("metrics/pyramid.py", "NAME = ", "def unused():\n    return 1\n\n\nNAME = "),
}  # fmt: skip
"""File, what is there and what is put there (how often) that decides no bits."""

OTHER: dict[str, tuple[str, str, str, str]] = {
    "the penalty's target": ("objectives/wgan_gp.py", "norms - 1.0", "norms - 2.0", "objectives.wgan_gp.WganGp"),
    "the sign of the estimate": ("objectives/wasserstein.py", "real_scores.mean() - fake_scores.mean()", "fake_scores.mean() - real_scores.mean()", "objectives.wasserstein.wasserstein_estimate"),
    "swapped arguments": ("objectives/slope.py", "torch.lerp(fake, real, position)", "torch.lerp(real, fake, position)", "objectives.slope.interpolates"),
    "the betas of Adam": ("objectives/wgan_gp.py", "betas=(0.0, 0.9)", "betas=(0.9, 0.0)", "objectives.wgan_gp.WganGp"),
    "another optimizer": ("objectives/optimizers.py", "torch.optim.Adam(", "torch.optim.AdamW(", "objectives.optimizers.adam"),
    "a default": ("objectives/objective.py", "share: tuple[int, int] = (0, 1)", "share: tuple[int, int] = (0, 2)", "objectives.objective.Noise"),
    "a dataclass's default": ("objectives/objective.py", "parts: int = 1", "parts: int = 2", "objectives.objective.Execution"),
    "a constant": ("training/average.py", "WARM_UP = 0.05", "WARM_UP = 0.06", "training.average.WARM_UP"),
    "a constant of another type": ("training/schedule.py", "1.0 if progress", "1 if progress", "training.schedule.DECAYS"),
    "the learning rate": ("training/schedule.py", "step / train.steps", "step / (train.steps + 1)", "training.schedule.set_schedules"),
    "where it is called": ("training/loop.py", "params, guards.rate_factor(state.step))\n", "params, 1.0 + guards.rate_factor(state.step))\n", "training.loop.train"),
    "the order of the data": ("data/order.py", "default_rng([self.seed, epoch]).", "default_rng([epoch, self.seed]).", "data.order.Order"),
    "a word of a seed": ("data/order.py", "_MIRRORED = 1", "_MIRRORED = 2", "data.order._MIRRORED"),
    "the range of the images": ("data/batches.py", "div_(127.5).sub_(1.0)", "div_(255.0)", "data.batches.normalise"),
    "a net": ("nets/mlp.py", "nn.ReLU()", "nn.ELU()", "nets.mlp._hidden"),
    "which weights it starts with": ("training/state.py", "torch.manual_seed(train.seed)", "torch.manual_seed(train.seed + 1)", "training.state.TrainingState"),
    "what a resumed one takes up": ("training/state.py", "self.noise.generator.set_state", "self.noise.generator.get_state", "training.state.TrainingState"),
    "what a fine-tuned one starts with": ("training/checkpoints/fine_tuning.py", "for role, network in state.networks.items():\n        network.load", "for role, network in ():\n        network.load", "training.checkpoints.fine_tuning.begin"),
    "the halved rate": ("training/watch/guards.py", "return 0.5 if self._halved", "return 0.25 if self._halved", "training.watch.guards.Guards"),
    "which checkpoint is the best": ("training/watch/quality.py", "if figure < lowest", "if figure > lowest", "training.watch.quality.Quality"),
    "how it is compared": ("metrics/pyramid.py", "ceil_mode=True", "ceil_mode=False", "metrics.pyramid.levels"),
    "latents that stay": ("normals.py", "0x9E3779B9", "0x9E3779B8", "normals._KEY_STEPS"),
    "a decorator": ("training/average.py", "@torch.no_grad()\n", "@torch.enable_grad()\n", "training.average.Average"),
    "a statement that is gone": ("objectives/adversarial.py", "        self.project(opponent)\n", "", "objectives.adversarial.Adversarial"),
    "the order of statements": ("training/loop.py", "            guards.watch(state, readings)\n            journal.record(state, readings)\n", "            journal.record(state, readings)\n            guards.watch(state, readings)\n", "training.loop.train"),
    "a draw within a log line": ("objectives/wgan_gp.py", "        (position,) = draws\n", "        import logging\n        (position,) = draws\n        logging.info('%s', torch.rand(()))\n", "objectives.wgan_gp.WganGp"),
    "a draw within a log line's text": ("objectives/wgan_gp.py", "        (position,) = draws\n", "        import logging\n        (position,) = draws\n        logging.info(f'{torch.rand(())}')\n", "objectives.wgan_gp.WganGp"),
    "what an error carries": ("training/watch/guards.py", "        raise Diverged(\n", "        raise Diverged(\n            1,\n", "training.watch.guards.Guards"),
    "which error is caught": ("training/watch/guards.py", "except Diverged as diverged", "except StorageError as diverged", "how its parts call each other"),
    "which of two constants": ("objectives/schedule.py", "step < FIRST_ITERATIONS", "step < EVERY", "how its parts call each other"),
    "a row of the table": ("objectives/__init__.py", '"wgan-gp": WganGp,', '"wgan-gp": Wgan,', "how its parts call each other"),
    "what happens at an import": ("data/order.py", "_MIRRORED = 1", "np.seterr(all='ignore')\n_MIRRORED = 1", "data.order.(top level)"),
    "a patch at an import": ("nets/dcgan.py", "CriticNorm = Lit", "nn.Linear.bias = None\nCriticNorm = Lit", "nets.dcgan.(top level)"),
}  # fmt: skip
"""The same that decides bits, and the definition that is to be named."""
