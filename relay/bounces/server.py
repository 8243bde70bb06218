"""The return-path server: takes mail for return paths and a few addresses of our own, and nothing else."""

import asyncio
import logging
from typing import Any
from uuid import UUID

import psycopg
from aiosmtpd.smtp import Envelope
from django.conf import settings
from psycopg_pool import PoolTimeout

from activity import reports
from activity.pool import Pool
from activity.reports import Arrived
from relay import returnpath
from relay.bounces.bell import Bell
from relay.bounces.certificate import Certificate
from relay.bounces.keeper import Keeper
from relay.bounces.limits import Limits
from relay.bounces.session import Session
from relay.limits import Buckets, Room

log = logging.getLogger(__name__)

AWAY = "451 4.3.0 Try again later"
UNKNOWN = "550 5.1.1 No such address here"
# RFC 5321 4.5.1 and RFC 2142; fbl takes the complaints of feedback loops.
OURS = frozenset({"postmaster", "abuse", "fbl"})


class Desk:
    """What aiosmtpd asks while it speaks with a client: EHLO, RCPT, and at last what to do with a report."""

    def __init__(self, pool: Pool, bell: Bell) -> None:
        self.pool = pool
        self.keeper = Keeper(pool)
        self.bell = bell
        self.limits = Limits(
            connections=1000,
            connections_of_one=settings.REPORT_CONNECTIONS,
            room=Room(16 * settings.MAX_REPORT_BYTES),
            reports=Buckets(settings.REPORTS_A_MINUTE, settings.REPORTS_A_MINUTE / 60),
            refusals=Buckets(100, 100 / 60),
        )

    async def handle_EHLO(
        self, _server: Session, session: Any, _envelope: Envelope, hostname: str, offered: list[str]
    ) -> list[str]:
        session.host_name = hostname
        kept = [line for line in offered if not line.startswith(("250-AUTH", "250 "))]
        return [*kept, "250-PIPELINING", "250 ENHANCEDSTATUSCODES"]

    async def handle_MAIL(
        self, server: Session, _session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.limits.exceeded(server.peer):
            return "450 4.7.0 Too much from your address, try later"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: Session, _session: Any, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= 100:
            return "452 4.5.3 Too many recipients"
        if self.limits.too_many_unknown(server.peer):
            return "450 4.7.0 Too many unknown addresses, try later"
        try:
            known = await self._knows(address)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            log.warning("cannot look up <%s>: %s", address, error)
            return AWAY
        if not known:
            self.limits.refusals.take(server.peer)
            return UNKNOWN
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def _knows(self, address: str) -> bool:
        local, _, host = address.rpartition("@") if "@" in address else (address, "", settings.ZONE)
        host = host.lower().rstrip(".")
        if local.lower() in OURS and host in (settings.ZONE, settings.HOSTNAME, f"mx.{settings.ZONE}"):
            return True
        recipient_id = recipient_named(address)
        # What PostgreSQL cannot even be asked for is refused for good and not put off.
        if recipient_id is None or not (host.isascii() and host.isprintable()):
            return False
        if host == f"bounce.{settings.ZONE}":
            return True
        async with self.pool.connection() as connection:
            return await reports.returns_to(connection, recipient_id, host, settings.ZONE)

    async def take(self, peer: str, envelope: Envelope, content: bytes) -> str:
        """Commit the report once for each address; 250 only after that."""
        addressees = {address: recipient_named(address) for address in envelope.rcpt_tos}
        try:
            kept = await self.keeper.keep(Arrived((envelope.mail_from or "").removeprefix("<>"), addressees, content))
        except (psycopg.Error, PoolTimeout, OSError) as error:
            log.warning("a report was not kept: %s", error)
            return AWAY
        self.limits.reports.take(peer)
        self.bell.ring(kept)
        return f"250 2.0.0 Kept as {kept[0]}"

    async def handle_exception(self, error: Exception) -> str:
        log.error("a session failed", exc_info=error)
        return AWAY


def recipient_named(address: str) -> UUID | None:
    return returnpath.recipient_of(address.rpartition("@")[0])


class Server:
    """Listens until it is stopped; `port` 0 takes a free one."""

    def __init__(self, pool: Pool) -> None:
        self.bell = Bell()
        self.desk = Desk(pool, self.bell)
        self.certificate = Certificate(settings.TLS_CERTIFICATE, settings.TLS_KEY)

    def _session(self) -> Session:
        return Session(self.desk, settings.HOSTNAME, settings.MAX_REPORT_BYTES, self.certificate.current())

    async def start(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(self._session, host, port)
        self.port = self.listener.sockets[0].getsockname()[1]
        self.bell.start()

    async def stop(self) -> None:
        self.listener.close()
        await self.bell.stop()
