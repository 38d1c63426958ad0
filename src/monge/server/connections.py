"""Limits the time that a client may take, and the number of clients, which uvicorn leaves open.

Every connection knows what it waits for and since when, and twice a second all of them are looked
at: no request has a timer of its own. Where there are more than fit, the one that has waited
longest for its client makes room.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from enum import Enum
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from monge.server.problems import Seldom, written
from monge.server.settings import Patience

KEEP_ALIVE_S = 75
"""For the next request: longer than the 60 s of proxies, which must be the ones to close."""

MAX_HEAD_BYTES = 64 << 10
LEAST_BYTES_PER_S = 64 << 10
"""A client that is at least so quick has all the time that its body or its answer takes."""

_LEAVE_S = 0.5  # to read a refusal before the connection is closed
_DISCARD_S = 10.0  # for the rest of a body that was refused
_LAST_S = 3.0  # after the drain, for threads that nobody waits for any more

log = logging.getLogger(__name__)


class Waits(Enum):
    """The things that a connection waits for."""

    HEAD = "the head of a request"
    BODY = "the body of a request"
    ANSWER = "our answer"
    NEXT = "another request"
    CLOSE = "being closed"


class ConnectionTable:
    """All connections of a service, at most `most`."""

    def __init__(self, patience: Patience, most: int) -> None:
        self.patience, self.most, self.unanswered = patience, most, 0
        self.connections: set[Connection] = set()
        self._closed = self._refused = 0
        self._seldom = Seldom(log)

    def enter(self, new: Connection) -> None:
        """Take one in; where the table is full, close the longest idle one, or refuse this one."""
        self.connections.add(new)
        if len(self.connections) <= self.most:
            return
        idle = [one for one in self.connections if one is not new and one.idle]
        if idle:
            self._closed += 1
            oldest = min(idle, key=lambda one: one.since_s)
            self.connections.discard(oldest)
            oldest.transport.abort()
        else:
            self._refused += 1
            text = f"{self.most} connections are open already. Ask again in a second."
            new.refuse(HTTPStatus.SERVICE_UNAVAILABLE, text, retry=True)
        self._seldom(
            "full: %d connections are open (--max-connections, ulimit -n); so far %d that sent "
            "nothing were closed for others, and %d were answered 503",
            self.most, self._closed, self._refused,
        )  # fmt: skip

    def look(self, now_s: float) -> None:
        """Look at each connection's time."""
        for connection in [*self.connections]:
            connection.look(now_s)

    def give_up(self) -> None:
        """Tell all that still wait for an answer that there will be none."""
        for connection in [*self.connections]:
            self.unanswered += connection.asked
            text = "the service shuts down before this could be answered. Ask again."
            connection.refuse(HTTPStatus.SERVICE_UNAVAILABLE, text, retry=True)


class Connection(HttpToolsProtocol):
    """One client's connection: uvicorn's, which knows what it waits for."""

    def __init__(self, *given: Any, table: ConnectionTable, **named: Any) -> None:
        super().__init__(*given, **named)
        self.table, self.waits, self.since_s = table, Waits.HEAD, self.loop.time()
        self._head_bytes = self._body_bytes = 0
        self._written: tuple[float, int] | None = None  # since when the client takes, and how much

    @property
    def idle(self) -> bool:
        """Tell whether it holds its place without having asked for anything."""
        return self.waits in (Waits.HEAD, Waits.NEXT, Waits.CLOSE)

    @property
    def asked(self) -> bool:
        """Tell whether a request waits for its answer."""
        return self.cycle is not None and not self.cycle.response_complete

    def look(self, now_s: float) -> None:
        """End what takes longer than it may."""
        waited_s, may = now_s - self.since_s, self.table.patience
        if self.waits is Waits.HEAD and waited_s > may.header_s:
            if self._head_bytes:
                self._late("head", may.header_s)
            else:
                self.transport.abort()
        elif self.waits is Waits.BODY and not self.asked and waited_s > _DISCARD_S:
            self.transport.abort()
        elif self.waits is Waits.BODY and waited_s > may.body_s + self._at_least(self._body_bytes):
            self._late("body", may.body_s)
        elif self.waits is Waits.NEXT and waited_s > KEEP_ALIVE_S + 1:
            self.transport.close()
        elif self.waits is Waits.CLOSE and waited_s > _LEAVE_S:
            self.transport.abort()
        self._look_at_answer(now_s, may.answer_s)

    def _look_at_answer(self, now_s: float, answer_s: float) -> None:
        left = self.transport.get_write_buffer_size()
        if left == 0 or self._written is None:
            self._written = (now_s, left) if left else None
            return
        began_s, whole = self._written
        if now_s - began_s > answer_s + self._at_least(whole - left):
            self.transport.abort()

    @staticmethod
    def _at_least(size: int) -> float:
        return max(0, size) / LEAST_BYTES_PER_S

    def _late(self, part: str, allowed_s: float) -> None:
        text = f"the {part} of the request did not come within {allowed_s:g} s."
        self.refuse(HTTPStatus.REQUEST_TIMEOUT, text)

    def refuse(self, status: HTTPStatus, text: str, *, retry: bool = False) -> None:
        """Answer by ourselves, and close when the client has read it.

        What comes from it until then is thrown away: closing at once would throw our answer away.
        """
        if self.waits is Waits.CLOSE or self.transport.is_closing():
            return
        begun = self.asked and self.cycle.response_started
        self._wait(Waits.CLOSE)
        self.pipeline.clear()
        if self.asked:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if begun or not self.transport.can_write_eof():
            self.transport.abort()
            return
        self.transport.write(written(status, text, {"Retry-After": "1"} if retry else {}))
        self.transport.write_eof()
        self.flow.resume_reading()

    def _wait(self, what: Waits) -> None:
        self.waits, self.since_s = what, self.loop.time()

    # What uvicorn and its parser call.

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.table.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.table.connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.waits is Waits.CLOSE:
            return
        if self.waits is not Waits.BODY:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.waits is Waits.HEAD and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()
        else:
            self.refuse(HTTPStatus.BAD_REQUEST, "this is not HTTP that can be read.")

    def _refuse_head(self) -> None:
        text = f"the head of a request has at most {MAX_HEAD_BYTES} bytes."
        self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text)

    def _unsupported_upgrade_warning(self) -> None:
        pass  # it is answered as if nothing of the kind had been asked for

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait(Waits.HEAD)

    def on_headers_complete(self) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:  # with what came of a body in the same piece
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > MAX_HEAD_BYTES:
                raise ValueError("too large")  # the parser stops, and `send_400_response` says so
        self._head_bytes = self._body_bytes = 0
        self._wait(Waits.BODY)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._wait(Waits.ANSWER if self.asked else Waits.NEXT)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.waits is Waits.ANSWER:
            self._wait(Waits.ANSWER if self.asked else Waits.NEXT)


class Server(uvicorn.Server):
    """uvicorn's server, which minds its connections and ends in time.

    What was accepted has `drain_s` to be answered after a signal. `failure` is why it ended by
    itself.
    """

    def __init__(self, config: uvicorn.Config, table: ConnectionTable, drain_s: float) -> None:
        super().__init__(config)
        self.table, self.drain_s = table, drain_s
        self.failure: Exception | None = None
        self._last = threading.Timer(drain_s + _LAST_S, self._leave)
        self._last.daemon = True

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            super().run(sockets)
        finally:
            self._last.cancel()

    def fail(self, error: Exception) -> None:
        """End, because of what went wrong."""
        self.failure, self.should_exit = error, True

    def last_words(self) -> str:
        """Say what became of what was accepted."""
        if not self.table.unanswered:
            return "what was accepted has been answered"
        left = self.table.unanswered
        return f"of what was accepted, {left} could not be answered in {self.drain_s:g} s: 503"

    async def on_tick(self, counter: int) -> bool:
        if counter % 5 == 0:
            self._look()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        late = loop.call_later(self.drain_s, self.table.give_up)
        self._last.start()
        looking = loop.create_task(self._go_on_looking())
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()
            looking.cancel()

    async def _go_on_looking(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            self._look()

    def _look(self) -> None:
        self.table.look(asyncio.get_running_loop().time())

    def _leave(self) -> None:
        """End the process, whatever its threads still compute for nobody."""
        log.warning("stopped; %s", self.last_words())
        logging.shutdown()
        os._exit(0)
