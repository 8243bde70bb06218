"""The simulator's SMTP server: behaves as its address table or a script says, and keeps what it received."""

import asyncio
import logging
import re
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Coroutine
from datetime import UTC, datetime
from itertools import count

from relay.simulator.addresses import TAKEN, Report, address_of
from relay.simulator.connection import Connection
from relay.simulator.courier import Courier
from relay.simulator.received import Received
from relay.simulator.reports import REPORTS
from relay.simulator.script import USUAL, Action, Behave, Envelope, Fault, Stage
from relay.simulator.session import Session
from relay.simulator.shelf import Shelf

logger = logging.getLogger(__name__)

MESSAGE_ID = re.compile(rb"^message-id:\s*(\S+)", re.IGNORECASE | re.MULTILINE)
IDLE = 300.0  # seconds, RFC 5321 4.5.3.2.7
REMEMBERED_EMAILS = 10_000  # of those that deferred@ put off
PENDING_REPORTS = 1000


class Simulator:
    """Takes mail for `domain`, for `domains` and for those that `takes` says it is for, relays nothing.

    `received` holds the newest messages, at most `keep` of them and `keep_bytes` in all; `received_count` counts all.
    `behave` is asked before the address table and may be changed at any time. Reports are sent by `courier`, if any,
    `report_delay` seconds after the message; `slow@` answers after `slow_delay` seconds.
    """

    def __init__(
        self,
        domain: str,
        *,
        domains: Collection[str] = (),
        takes: Callable[[str], bool] = lambda _domain: False,
        behave: Behave | None = None,
        courier: Courier | None = None,
        shelf: Shelf | None = None,
        ssl_context: ssl.SSLContext | None = None,
        report_delay: float = 3.0,
        slow_delay: float = 3.0,
        keep: int = 1000,
        keep_bytes: int = 64 * 1024 * 1024,
        max_message: int = 32 * 1024 * 1024,
    ) -> None:
        self.hostname = f"mx.{domain}"
        self.domains = {domain.lower(), *(name.lower() for name in domains)}
        self.takes = takes
        self.behave = behave
        self.courier = courier
        self.shelf = shelf
        self.ssl_context = ssl_context
        self.report_delay, self.slow_delay = report_delay, slow_delay
        self.keep, self.keep_bytes, self.max_message = keep, keep_bytes, max_message
        self.received: deque[Received] = deque()
        self.received_count = self.received_bytes = 0
        self.connections: set[Connection] = set()
        self.numbers = count(1)
        self.put_off: OrderedDict[tuple[str, bytes], int] = OrderedDict()
        self.tasks: set[asyncio.Task[None]] = set()
        self.news = asyncio.Event()
        self.port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. Port 0 takes a free one; `port` then says which."""
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Session(self), host, port, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]
        self._spawn(self._close_idle())

    async def stop(self) -> None:
        self.server.close()
        for connection in list(self.connections):
            connection.transport.abort()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def wait_for(self, number: int, seconds: float = 10.0) -> None:
        """Until `number` messages have been received in all; TimeoutError if that takes too long."""
        async with asyncio.timeout(seconds):
            while self.received_count < number:
                self.news.clear()
                await self.news.wait()

    # What connections ask.

    def number(self) -> int:
        return next(self.numbers)

    def decide(self, stage: Stage, envelope: Envelope) -> Fault:
        action = self.behave(stage, envelope) if self.behave is not None else None
        if action is None and stage is Stage.RCPT:
            action = self._by_recipient(envelope.recipient)
        elif action is None and stage is Stage.END_OF_DATA:
            action = self._by_content(envelope)
        if action is None:
            return USUAL
        return action if isinstance(action, Fault) else Fault(action)

    def _by_recipient(self, mailbox: str) -> Action:
        domain = mailbox.rpartition("@")[2].lower()
        if domain not in self.domains and mailbox.lower() != "postmaster" and not self.takes(domain):
            return "550 5.7.1 Relaying denied"
        address = address_of(mailbox)
        return address.reply if address.stage is Stage.RCPT else None

    def _by_content(self, envelope: Envelope) -> Action:
        """The first recipient that has something against the message speaks for all."""
        addresses = [(mailbox, address_of(mailbox)) for mailbox in envelope.recipients]
        for mailbox, address in addresses:
            if address.stage is not Stage.END_OF_DATA or address.reply == TAKEN:
                continue
            if not address.times or self._attempt(mailbox, envelope.content) <= address.times:
                return address.reply
        return Fault(delay=self.slow_delay) if any(address.slow for _, address in addresses) else None

    def _attempt(self, mailbox: str, content: bytes) -> int:
        """How often this email has come to this mailbox, now included; emails are told apart by Message-ID."""
        found = MESSAGE_ID.search(content.partition(b"\r\n\r\n")[0])
        key = (mailbox.lower(), found[1][:1000] if found else b"")
        self.put_off[key] = self.put_off.pop(key, 0) + 1
        if len(self.put_off) > REMEMBERED_EMAILS:
            self.put_off.popitem(last=False)
        return self.put_off[key]

    def accepted(self, envelope: Envelope) -> None:
        self.received_count += 1
        message = Received.of(envelope, self.received_count, datetime.now(UTC))
        self.received.append(message)
        self.received_bytes += len(message.content)
        while len(self.received) > self.keep or self.received_bytes > self.keep_bytes:
            self.received_bytes -= len(self.received.popleft().content)
        self.news.set()
        logger.info("received %s", message)
        if self.shelf is not None:
            self.shelf.put(message)
        for mailbox in message.recipients:
            if (report := address_of(mailbox).after) is not None:
                self._report(report, message, mailbox)

    # What happens by itself.

    def _report(self, report: Report, message: Received, mailbox: str) -> None:
        # RFC 5321 4.5.5: nothing is ever sent to the null return path.
        if self.courier is None or not message.sender:
            return
        if len(self.tasks) > PENDING_REPORTS:
            logger.warning("too many reports are waiting: none is sent for message %d", message.number)
            return
        content = REPORTS[report](message, mailbox, self.hostname)
        self._spawn(self._send(self.courier, message.sender, content))

    async def _send(self, courier: Courier, return_path: str, content: bytes) -> None:
        await asyncio.sleep(self.report_delay)
        await courier.send(return_path, content)

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE / 10)
            oldest = time.monotonic() - IDLE
            for connection in [each for each in self.connections if each.last_heard < oldest]:
                connection.close_idle()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
