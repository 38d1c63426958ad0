"""Every error that monge raises on purpose, on one screen.

A message says what happened, where, and what to do next, in one or two lines. The command line
prints it without a traceback and exits with `exit_code`: 2 the user's input, 3 the environment,
4 the training itself. A flow retries what exits with 3 and never what exits with 2 or 4.
"""

from __future__ import annotations

from monge.credentials import hidden


class MongeError(Exception):
    """Base of every deliberate error. Its message tells no password, whatever it was made of."""

    exit_code = 3

    def __str__(self) -> str:
        return hidden(super().__str__())


class InputError(MongeError):
    """Something that was given to monge is wrong: giving it again will not help."""

    exit_code = 2


class ParamsError(InputError):
    """`params.yaml` or `--set` is wrong; the message lists every problem, one a line."""


class SourceError(InputError):
    """The images cannot be used: none found, too many damaged, an unsafe archive."""


class DatasetError(InputError):
    """The packed dataset is missing, damaged, or does not fit the request."""


class ModelFileError(InputError):
    """A generator file is missing, is not one, breaks its contract, or is unsafe to load."""


class MadeOtherwise(InputError):
    """The stage's input was made by `stage` with other parameters than are asked for."""

    def __init__(self, message: str, stage: str) -> None:
        super().__init__(message)
        self.stage = stage


class CheckpointMismatch(MadeOtherwise):
    """The checkpoints on disk belong to other parameters, another dataset, or other code."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "train")


class EnvironmentFault(MongeError):
    """The machine or a service it needs failed; the same command may work later."""

    exit_code = 3


class StorageError(EnvironmentFault):
    """A file cannot be written or read: disk full, read-only folder, no permission."""


class DeviceError(EnvironmentFault):
    """The asked device is not here."""


class MissingExtra(EnvironmentFault):
    """A package that this command needs is not installed; the message names the extra."""


class ServiceError(EnvironmentFault):
    """A server (tracking, registry, download) did not answer or refused."""


class ServerAway(ServiceError):
    """A server is away or failing, and may be back in a while."""


class Busy(EnvironmentFault):
    """Another process is already working in this folder."""


class ChangedMeanwhile(EnvironmentFault):
    """Files that a stage works on changed while it ran: its result is of what they were before."""


class NotReady(EnvironmentFault):
    """The service is warming up or shutting down."""


class Late(EnvironmentFault):
    """A request's deadline passed before its images were drawn."""


class QueueFull(EnvironmentFault):
    """More images wait than the queue holds; `retry_after_s` is when there should be room."""

    def __init__(self, waiting: int, retry_after_s: float) -> None:
        super().__init__(f"{waiting} images wait already. Ask again in {retry_after_s:.0f} s.")
        self.retry_after_s = retry_after_s


class TrainingError(MongeError):
    """The training itself failed: it diverged or died, and repeating it will not help."""

    exit_code = 4


class Diverged(TrainingError):
    """A number that training goes on from is not finite."""


class Interrupted(MongeError):
    """A signal asked the work to stop; what was done is kept and the same command goes on."""

    exit_code = 130
