"""Runs the simulator and its DNS server on free ports beside a test, on an event loop in a thread."""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvloop

from relay.simulator.dns import DnsServer, Source
from relay.simulator.server import Simulator


class Loop:
    """An event loop in a thread; `run` waits for a coroutine that runs there."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run[T](self, coroutine: Coroutine[Any, Any, T], seconds: float = 30.0) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@contextmanager
def running(simulator: Simulator) -> Iterator[Loop]:
    loop = Loop()
    try:
        loop.run(simulator.start())
        yield loop
        loop.run(simulator.stop())
    finally:
        loop.close()


@contextmanager
def dns_running(source: Source, host: str = "127.0.0.1", port: int = 0) -> Iterator[DnsServer]:
    loop = Loop()
    server = DnsServer(source)
    try:
        loop.run(server.start(host, port))
        yield server
        loop.run(server.stop())
    finally:
        loop.close()


class Client:
    """A raw SMTP client: sends bytes as they are, reads whole replies."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self) -> str:
        """All lines of one reply; "" when the server has closed the connection."""
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            line = self.file.readline()
            if not line:
                return ""
            lines.append(line.decode("latin-1").removesuffix("\r\n"))
        return "\n".join(lines)

    def ask(self, command: str) -> str:
        self.send(command.encode() + b"\r\n")
        return self.reply()

    def begin(self, *recipients: str, sender: str = "ann@example.test") -> None:
        """Up to the 354 of DATA."""
        assert self.reply().startswith("220")
        self.ask("EHLO client.test")
        self.ask(f"MAIL FROM:<{sender}>")
        for recipient in recipients:
            self.ask(f"RCPT TO:<{recipient}>")
        assert self.ask("DATA").startswith("354")

    def close(self) -> None:
        self.file.close()
        self.socket.close()
