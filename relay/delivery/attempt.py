"""One attempt: reach a server of the destination, hand the email over, and say what came of it as an Outcome."""

import ssl
from dataclasses import dataclass, replace
from typing import cast

from django.conf import settings

from activity.claim import Claimed
from activity.outcome import Outcome
from activity.reasons import Reason
from activity.status import Status
from relay import replies, returnpath
from relay.delivery.contents import Prepared
from relay.delivery.route import Router, Server, Unroutable
from relay.delivery.smtp import Connection, Refused, Reply, Trouble

MESSAGES_A_CONNECTION = 100

STATUS_OF = {
    "delivered": Status.DELIVERED,
    "deferred": Status.DEFERRED,
    "soft_bounce": Status.SOFT_BOUNCE,
    "hard_bounce": Status.HARD_BOUNCE,
}


def opportunistic_tls() -> ssl.SSLContext:
    """Encrypts wherever it is offered and fails on no certificate (RFC 7435): clear text would be the alternative."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@dataclass(frozen=True, slots=True)
class Closed:
    """No server of the destination could be reached. `absent`: the domain itself does not exist in DNS."""

    outcome: Outcome
    absent: bool = False


class Dialer:
    """Opens connections to a destination, server after server in the order of preference."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.tls = opportunistic_tls()

    async def open(self, domain: str) -> Connection | Closed:
        servers = await self.router.servers(domain)
        if isinstance(servers, Unroutable):
            return Closed(servers.outcome, servers.absent)
        last = Outcome(Status.DEFERRED, Reason.NETWORK)
        for server in servers:
            reached = await self._try(server)
            if isinstance(reached, Connection):
                return reached
            last = reached
        return Closed(last)

    async def _try(self, server: Server) -> Connection | Outcome:
        try:
            return await self._connect(server)
        except Refused as refused:
            outcome = judged(refused.reply, server, "")
            # Before MAIL nothing was said about the email: a 5xx here closes this server, not the recipient.
            return replace(outcome, status=Status.DEFERRED)
        except Trouble as trouble:
            return broken(trouble, server)

    async def _connect(self, server: Server) -> Connection:
        try:
            return await Connection.connect(server, settings.HOSTNAME, self.tls)
        except Trouble as trouble:
            if not trouble.tls:
                raise
            return await Connection.connect(server, settings.HOSTNAME, None)


async def hand_over(connection: Connection, job: Claimed, prepared: Prepared) -> Outcome | None:
    """One transaction. None: a reused connection had gone stale before any content was sent, which says nothing."""
    sender = returnpath.make(job.id, prepared.bounce_host)
    needs_utf8 = job.smtputf8 and not job.address.isascii()
    if needs_utf8 and "SMTPUTF8" not in connection.extensions:
        text = "The recipient's server does not take internationalised addresses (SMTPUTF8)"
        return Outcome(Status.HARD_BOUNCE, Reason.PROTOCOL, "mail", 0, "5.6.7", host=connection.server.host, note=text)
    try:
        reply = await connection.send(sender, job.address, prepared, smtputf8=needs_utf8)
    except Trouble as trouble:
        if connection.sent > 1 and trouble.stage in ("rset", "mail", "rcpt", "data"):
            return None
        return replace(broken(trouble, connection.server), tls=connection.tls)
    return judged(reply, connection.server, connection.tls)


def judged(reply: Reply, server: Server, tls: str) -> Outcome:
    verdict = replies.judge(
        replies.Reply(cast("replies.Stage", reply.stage), reply.code, reply.enhanced, reply.text, server.host)
    )
    return Outcome(
        STATUS_OF[verdict.outcome],
        str(verdict.reason or ""),
        reply.stage,
        reply.code,
        reply.enhanced,
        reply.text,
        server.host,
        server.ip,
        tls,
    )


def broken(trouble: Trouble, server: Server) -> Outcome:
    """Transport trouble is always Deferred; after the final dot the server may have the email all the same."""
    note = trouble.text
    if trouble.may_have_it:
        note = f"{note}. The whole email had been sent: the server may have accepted it"
    reason = Reason.TLS if trouble.tls else Reason.NETWORK
    return Outcome(Status.DEFERRED, reason, trouble.stage, host=server.host, ip=server.ip, note=note)
