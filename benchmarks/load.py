"""A lean client: asks a server over many connections without a pause, and times each answer.

One thread, `epoll`, requests written beforehand, and only the length of an answer is read: about
15 µs a request, so that what is measured is the server and not the client beside it.
"""

from __future__ import annotations

import random
import selectors
import socket
import time
from dataclasses import dataclass, field

_END = b"\r\n\r\n"


@dataclass(eq=False, slots=True)
class _Client:
    connection: socket.socket
    began_s: float = 0.0
    head: bytes = b""
    left: int | None = None  # bytes of the answer's body that are to come
    dice: random.Random = field(default_factory=lambda: random.Random(0))

    def ask(self, requests: list[bytes]) -> None:
        self.head, self.left, self.began_s = b"", None, time.perf_counter()
        self.connection.sendall(self.dice.choice(requests))

    def answered(self) -> bool:
        """Take what has come, and say whether that was all of it."""
        data = self.connection.recv(1 << 18)
        if not data:
            raise RuntimeError("the server closed the connection")
        if self.left is None:
            self.head += data
            end = self.head.find(_END)
            if end < 0:
                return False
            head = self.head[:end].lower()
            if not head.startswith(b"http/1.1 200"):
                raise RuntimeError(self.head.decode())
            told = int(head.partition(b"content-length:")[2].split(None, 1)[0])
            self.left = told + end + len(_END) - len(self.head)
        else:
            self.left -= len(data)
        return self.left == 0


def load(
    port: int, path: str, bodies: list[bytes], clients: int, seconds: float
) -> tuple[list[float], float]:
    """Seconds of each answer, and of all until the last one came; RuntimeError for a refusal."""
    requests = [_request(path, body) for body in bodies]
    taken: list[float] = []
    start_s = time.perf_counter()
    with selectors.DefaultSelector() as ready:
        for number in range(clients):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = _Client(connection, dice=random.Random(number))
            ready.register(connection, selectors.EVENT_READ, client)
            client.ask(requests)
        while ready.get_map():
            for key, _ in ready.select():
                client = key.data
                if not client.answered():
                    continue
                now_s = time.perf_counter()
                taken.append(now_s - client.began_s)
                if now_s - start_s < seconds:
                    client.ask(requests)
                else:
                    ready.unregister(client.connection)
                    client.connection.close()
    return taken, time.perf_counter() - start_s


def _request(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
