"""Follow a registry's alias: a new champion is checked and warmed up beside the old one."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from monge.errors import MongeError, ServiceError
from monge.server.models import Model, Models, warm_up
from monge.server.prometheus import Measures
from monge.serving.origin import Found

_MOST_S = 300.0

log = logging.getLogger(__name__)


class Follower:
    """Asks every `poll_s` seconds, less often while the registry does not answer.

    `look_up` says what the address names now, `open_model` opens it. A version that does not open
    is refused once, said, and not tried again until the alias moves.
    """

    def __init__(
        self,
        models: Models,
        measures: Measures,
        poll_s: float,
        look_up: Callable[[], Found],
        open_model: Callable[[], Model],
    ) -> None:
        self.models, self.measures, self.poll_s = models, measures, poll_s
        self.look_up, self.open_model = look_up, open_model
        self._seen = models.current.sampler.model_hash
        self._wait_s = poll_s

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            # Spread out, so that many services do not ask at once.
            await asyncio.sleep(self._wait_s * random.uniform(0.8, 1.2))
            try:
                await self.ask()
                self._wait_s = self.poll_s
            except ServiceError as error:
                self._wait_s = min(2.0 * self._wait_s, _MOST_S)
                self.measures.unreachable.inc()
                log.warning("%s Version %s goes on.", error, self.models.current.version)

    async def ask(self) -> None:
        """Look once. Raises ServiceError when the registry does not answer."""
        try:
            found = await asyncio.to_thread(self.look_up)
        except ServiceError:
            raise
        except MongeError as error:  # the alias or the name is gone
            raise ServiceError(str(error)) from None
        if found.model_hash in (self._seen, self.models.current.sampler.model_hash):
            self._seen = found.model_hash
            return
        try:
            new = await asyncio.to_thread(self._opened)
        except ServiceError:
            raise
        except Exception as error:
            self._seen = found.model_hash
            self.measures.refusals.inc()
            log.error(
                "%s version %d is refused, version %s goes on: %s",
                found.name, found.number, self.models.current.version, error,
            )  # fmt: skip
            return
        self._seen = new.sampler.model_hash
        self.models.switch(new)
        self.measures.switches.inc()
        self.measures.answers_now(*new.facts.values())

    def _opened(self) -> Model:
        model = self.open_model()
        warm_up(model)
        return model
