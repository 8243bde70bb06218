"""What all sessions of one submission process share: limits, the directory, and the group commit."""

import asyncio
import logging
from contextlib import suppress
from enum import Enum
from ipaddress import ip_address
from pathlib import Path

from django.conf import settings

from activity.accept import GroupCommit
from activity.arrival import Refusal
from activity.pool import Pool, open_pool
from domains.senders import Sender
from relay.limits import Buckets, Room, Slots, place_of
from relay.submission import gate
from relay.submission.certificate import Certificate
from relay.submission.directory import Directory
from relay.submission.failures import SharedFailures
from relay.submission.login_log import LoginLog
from relay.submission.logins import Login, Logins
from relay.submission.neighbours import Neighbours
from relay.submission.refusals import Refusals
from relay.submission.valkey import Valkey
from relay.submission.wire import Wire

log = logging.getLogger(__name__)

POOL = 3  # one commits, one listens, one is spare
STOPPING = 3.5  # seconds for messages in hand; the supervisor waits for 5


class Kind(Enum):
    """What a listener is for."""

    STARTTLS = "STARTTLS"
    TLS = "implicit TLS"
    PLAIN = "plain, without AUTH, for named client networks"


class Server:
    def __init__(self, pool: Pool, certificate: Certificate) -> None:
        self.pool = pool
        self.certificate = certificate
        self.hostname = settings.HOSTNAME
        self.max_bytes = settings.MAX_MESSAGE_BYTES
        self.max_recipients = settings.MAX_RECIPIENTS
        self.max_errors = settings.MAX_ERRORS
        self.login_seconds = settings.LOGIN_TIMEOUT
        self.command_seconds = settings.COMMAND_TIMEOUT
        self.data_seconds = settings.DATA_TIMEOUT
        self.messages_a_minute = settings.MESSAGES_A_MINUTE
        self.spool: Path = settings.HOME / "spool"
        self.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.committer = GroupCommit(pool)
        self.directory = Directory()
        self.refusals = Refusals(self.committer, self.directory)
        self.login_log = LoginLog(self.directory)
        self.valkey = Valkey()
        failures = SharedFailures(self.valkey, settings.LOGIN_BLOCK)
        self.logins = Logins(self.directory, self.login_log, failures, settings.LOGIN_FAILURES)
        self.rates = Buckets(self.messages_a_minute, self.messages_a_minute / 60)
        self.slots = Slots()
        self.neighbours = Neighbours(self.valkey, self.slots, self.rates)
        self.room = Room(settings.MAX_BYTES_IN_FLIGHT)
        self.wires: set[Wire] = set()
        self.empty = asyncio.Event()
        jobs = (self.directory.listen(pool), certificate.keep_fresh(), self._end_late(), self._write_counters())
        self.tasks = [asyncio.create_task(job) for job in (*jobs, self.neighbours.keep_talking())]

    @classmethod
    async def open(cls, certificate: Certificate) -> "Server":
        return cls(await open_pool(POOL, "submission"), certificate)

    def admit(self, wire: Wire) -> bool:
        if not self.neighbours.take(place_of(wire.peer), settings.ADDRESS_CONNECTIONS):
            return False
        self.wires.add(wire)
        self.empty.clear()
        return True

    def admit_credential(self, credential_id: int) -> bool:
        return self.neighbours.take(credential_id, settings.CREDENTIAL_CONNECTIONS)

    def release(self, wire: Wire, login: Login | None) -> None:
        self.wires.discard(wire)
        if not self.wires:
            self.empty.set()
        self.slots.give_back(place_of(wire.peer))
        if login is not None:
            self.slots.give_back(login.credential_id)

    def patience(self, *, known: bool) -> float:
        """Seconds a client has for its next command: few as long as we do not know it."""
        return self.command_seconds if known else self.login_seconds

    async def identify(self, kind: Kind, peer: str, login: Login | None) -> Sender | None:
        """None when the client is nobody, or not any more. Raises Unavailable."""
        if kind is Kind.PLAIN:
            credential_id = None if self.is_proxy(peer) else await self.directory.credential_at(peer)
            return None if credential_id is None else await self.directory.sender(credential_id)
        sender = None if login is None else await self.directory.sender(login.credential_id)
        # A new secret ends the sessions of the old one.
        return sender if login and sender and sender.secret_sha256 == login.secret_sha256 else None

    def is_proxy(self, address: str) -> bool:
        """Whether this address may say, by the PROXY protocol, for whom it speaks."""
        return any(ip_address(address) in network for network in settings.PROXY_NETWORKS)

    def may_send(self, sender: Sender) -> bool:
        limit = self.messages_a_minute if sender.messages_a_minute is None else sender.messages_a_minute
        scale = limit / self.messages_a_minute
        if not self.rates.take(sender.account_id, scale=scale):
            return False
        self.neighbours.note(sender.account_id, scale)
        return True

    async def suppression(self, sender: Sender, address: str) -> Refusal | None:
        entry = await self.directory.suppression(sender.account_id, address)
        return None if entry is None else gate.suppressed(entry)

    async def _end_late(self) -> None:
        while True:
            await asyncio.sleep(1)
            now = asyncio.get_running_loop().time()
            for wire in list(self.wires):
                wire.expire(now)

    async def _write_counters(self) -> None:
        while True:
            await asyncio.sleep(1)
            try:
                await self.refusals.flush()
                await self.login_log.flush()
            except Exception:
                log.exception("counters were not written")

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
                await self.refusals.settle()
                await self.committer.close()
                await self.refusals.flush()
                await self.login_log.flush()
                await self.neighbours.leave()
                await self.valkey.close()
                await self.pool.close(timeout=0.5)
        self.directory.close()
