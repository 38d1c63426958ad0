"""Counts the critic steps of an iteration: the same in each, or more where the authors did.

The code of Arjovsky et al. 2017 trains the critic for 100 steps in each of the first 25 generator
iterations and in every 500th after, so that the generator follows a critic near its optimum. The
paper's Algorithm 1 does not mention it.
"""

from __future__ import annotations

from dataclasses import dataclass

EXTRA_STEPS = 100
FIRST_ITERATIONS = 25
EVERY = 500


@dataclass(frozen=True)
class CriticSchedule:
    """Critic steps as a function of the generator iterations done before."""

    critic_steps: int
    extra: bool = False

    def at(self, step: int) -> int:
        """Critic steps of the iteration after `step` others."""
        more = self.extra and (step < FIRST_ITERATIONS or step % EVERY == 0)
        return max(EXTRA_STEPS, self.critic_steps) if more else self.critic_steps

    def before(self, step: int) -> int:
        """Critic steps of the first `step` iterations."""
        if not self.extra:
            return step * self.critic_steps
        long = min(step, FIRST_ITERATIONS) + max(0, (step - 1) // EVERY)
        return long * self.at(0) + (step - long) * self.critic_steps
