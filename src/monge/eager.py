"""torch's optimizers without torch's compiler, which monge never uses and which takes seconds.

torch wraps the methods of its optimizers for its compiler and its profiler, and the first call of
one imports the whole compiler: one to four seconds and a thousand modules. Here the methods below
the wraps are called. Where a later torch imports it all the same, nothing else is different.
"""

from __future__ import annotations

import inspect

import torch


def leave_compiler_out() -> None:
    """Let the optimizers of this process be built without it: called before the first one is.

    torch looks for a note `__dynamo_disable` on each method that its compiler passes over, and
    imports the compiler to have it written.
    """
    for method in vars(torch.optim.Optimizer).values():
        below = getattr(method, "__wrapped__", None)
        if below is not None and not hasattr(below, "__dynamo_disable"):
            setattr(below, "__dynamo_disable", below)


def step(optimizer: torch.optim.Optimizer, of: type[torch.optim.Optimizer] | None = None) -> None:
    """`optimizer.step()` by its own rule, or by that `of` a class it is derived from.

    No hook is called and no profiler told.
    """
    with torch.no_grad():
        inspect.unwrap((of or type(optimizer)).step)(optimizer)
