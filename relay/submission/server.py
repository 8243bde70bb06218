"""What all sessions of one submission process share: limits, the directory, and the group commit."""

import asyncio
import ssl
from contextlib import suppress
from enum import Enum
from pathlib import Path

from django.conf import settings

from activity.accept import GroupCommit
from activity.arrival import Refusal
from activity.pool import Pool, open_pool
from domains.senders import Sender
from relay.submission import gate
from relay.submission.directory import Directory
from relay.submission.limits import Buckets, Room, Slots
from relay.submission.logins import Logins, place_of
from relay.submission.refusals import Refusals
from relay.submission.wire import Wire

POOL = 3  # one commits, one listens, one is spare
STOPPING = 3.5  # seconds for messages in hand; the supervisor waits for 5


class Kind(Enum):
    """What a listener is for."""

    STARTTLS = "STARTTLS"
    TLS = "implicit TLS"
    PLAIN = "plain, without AUTH, for named client networks"


class Server:
    def __init__(self, pool: Pool, tls: ssl.SSLContext) -> None:
        self.pool = pool
        self.tls = tls
        self.hostname = settings.HOSTNAME
        self.max_bytes = settings.MAX_MESSAGE_BYTES
        self.max_recipients = settings.MAX_RECIPIENTS
        self.max_errors = settings.MAX_ERRORS
        self.data_seconds = settings.DATA_TIMEOUT
        self.spool: Path = settings.HOME / "spool"
        self.spool.mkdir(parents=True, exist_ok=True)
        self.committer = GroupCommit(pool)
        self.directory = Directory()
        self.refusals = Refusals(self.committer, self.directory)
        self.logins = Logins(self.directory, settings.LOGIN_FAILURES, settings.LOGIN_BLOCK)
        self.rates = Buckets(settings.MESSAGES_A_MINUTE, settings.MESSAGES_A_MINUTE / 60)
        self.slots = Slots()
        self.room = Room(settings.MAX_BYTES_IN_FLIGHT)
        self.wires: set[Wire] = set()
        self.empty = asyncio.Event()
        self.tasks = [asyncio.create_task(self.directory.listen(pool)), asyncio.create_task(self._look_after())]

    @classmethod
    async def open(cls, tls: ssl.SSLContext) -> "Server":
        return cls(await open_pool(POOL, "submission"), tls)

    def admit(self, wire: Wire) -> bool:
        if not self.slots.take(place_of(wire.peer), settings.ADDRESS_CONNECTIONS):
            return False
        self.wires.add(wire)
        self.empty.clear()
        return True

    def admit_credential(self, credential_id: int) -> bool:
        return self.slots.take(credential_id, settings.CREDENTIAL_CONNECTIONS)

    def release(self, wire: Wire, credential_id: int | None) -> None:
        self.wires.discard(wire)
        if not self.wires:
            self.empty.set()
        self.slots.give_back(place_of(wire.peer))
        if credential_id is not None:
            self.slots.give_back(credential_id)

    def patience(self, credential_id: int | None) -> float:
        """Seconds a client has for its next command: few as long as we do not know it."""
        return settings.LOGIN_TIMEOUT if credential_id is None else settings.COMMAND_TIMEOUT

    async def identify(self, kind: Kind, peer: str, credential_id: int | None) -> Sender | None:
        """None when the client is nobody, or not any more. Raises Unavailable."""
        if kind is Kind.PLAIN:
            credential_id = await self.directory.credential_at(peer)
        return None if credential_id is None else await self.directory.sender(credential_id)

    def may_send(self, sender: Sender) -> bool:
        limit = sender.messages_a_minute or settings.MESSAGES_A_MINUTE
        return bool(self.rates.take(sender.account_id, scale=limit / settings.MESSAGES_A_MINUTE))

    async def suppression(self, sender: Sender, address: str) -> Refusal | None:
        entry = await self.directory.suppression(sender.account_id, address)
        return None if entry is None else gate.suppressed(entry)

    async def _look_after(self) -> None:
        """Every second: end what takes too long, write the counters."""
        while True:
            await asyncio.sleep(1)
            now = asyncio.get_running_loop().time()
            for wire in list(self.wires):
                wire.expire(now)
            await self.refusals.flush()

    async def close(self) -> None:
        """Finish the messages in hand, say 421 to the rest, commit, go."""
        for wire in self.wires:
            wire.stop()
        if self.wires:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.empty.wait(), STOPPING)
        for wire in self.wires:
            wire.transport.abort()
        for task in self.tasks:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self.refusals.flush()
                await self.committer.close()
                await self.pool.close(timeout=0.5)
        self.directory.close()
