"""One attempt: reach a server of the destination, hand the email over, and say what came of it as an Outcome."""

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import cast

from django.conf import settings

from activity.claim import Claimed
from activity.outcome import Outcome
from activity.reasons import Reason
from activity.status import Status
from relay import replies, returnpath
from relay.delivery import mta_sts
from relay.delivery.contents import Prepared
from relay.delivery.route import Router, Server, Unroutable, every
from relay.delivery.smtp import Connection, Refused
from relay.delivery.tls import Encryption
from relay.delivery.wire import Reply, Trouble

MESSAGES_A_CONNECTION = 100
DEMANDED = "The MTA-STS policy of %s demands TLS with a valid certificate"

STATUS_OF = {
    "delivered": Status.DELIVERED,
    "deferred": Status.DEFERRED,
    "soft_bounce": Status.SOFT_BOUNCE,
    "hard_bounce": Status.HARD_BOUNCE,
}


@dataclass(frozen=True, slots=True)
class Closed:
    """No server of the destination could be reached. `absent`: the domain itself does not exist in DNS.

    `own`: it was the domain's own policy that forbade it, which says nothing about its servers.
    """

    outcome: Outcome
    absent: bool = False
    own: bool = False


class Dialer:
    """Opens connections to a destination, server after server in the order of preference."""

    def __init__(
        self, router: Router, encryption: Encryption | None = None, policies: mta_sts.Policies | None = None
    ) -> None:
        self.router = router
        self.encryption = encryption or Encryption()
        self.policies = policies or mta_sts.Policies(router.lookups.resolver)

    async def open(self, domain: str) -> Connection | Closed:
        policy = await self._policy(domain)
        enforced = policy is not None and policy.mode == "enforce"
        permits = policy.permits if policy is not None and enforced else every
        servers = await self.router.servers(domain, permits)
        if isinstance(servers, Unroutable):
            return Closed(servers.outcome, servers.absent)
        allowed = [server for server in servers if permits(server.host)]
        last = _no_permitted(domain, servers)
        for server in allowed:
            reached = await self._try(server, required=enforced)
            if isinstance(reached, Connection):
                reached.note = mta_sts.misses(policy, domain, server.host, reached.verified)
                return reached
            last = reached
            if enforced and reached.reason == Reason.TLS:
                last = replace(reached, note=f"{reached.note}. {DEMANDED % domain}")
        return Closed(last, own=enforced and (len(allowed) < len(servers) or last.reason == Reason.TLS))

    async def suits(self, connection: Connection, domain: str) -> bool:
        """Whether a connection that was opened for another domain may carry this one's mail, as its policy says."""
        policy = await self._policy(domain)
        missed = mta_sts.misses(policy, domain, connection.server.host, connection.verified)
        if policy is not None and policy.mode == "enforce":
            return not missed and not connection.note
        return missed == connection.note

    async def _policy(self, domain: str) -> mta_sts.Policy | None:
        # A policy speaks of MX hosts (RFC 8461 4.1); a static route is the operator's own decision.
        if domain in settings.ROUTES or "*" in settings.ROUTES:
            return None
        return await self.policies.policy(domain)

    async def _try(self, server: Server, *, required: bool) -> Connection | Outcome:
        try:
            return await self._connect(server, required=required)
        except Refused as refused:
            outcome = judged(refused.reply, server, "")
            # Before MAIL nothing was said about the email: a 5xx here closes this server, not the recipient.
            return replace(outcome, status=Status.DEFERRED)
        except Trouble as trouble:
            return broken(trouble, server)

    async def _connect(self, server: Server, *, required: bool) -> Connection:
        if required or not self.encryption.fails_at(server.host):
            try:
                return await self._dial(server, self.encryption, required=required)
            except Trouble as trouble:
                if required or not trouble.tls:
                    raise
                self.encryption.failed_at(server.host, trouble.text)
        connection = await self._dial(server, None, required=False)
        connection.tls = f"no TLS: {self.encryption.fails_at(server.host)}"
        return connection

    async def _dial(self, server: Server, encryption: Encryption | None, *, required: bool) -> Connection:
        source = settings.SOURCE_ADDRESSES.get(ip_address(server.ip).version)
        return await Connection.connect(server, settings.HOSTNAME, encryption, required=required, source=source)


def _no_permitted(domain: str, servers: list[Server]) -> Outcome:
    hosts = ", ".join(dict.fromkeys(server.host for server in servers))
    note = f"The MTA-STS policy of {domain} permits none of its mail servers: {hosts}"
    return Outcome(Status.DEFERRED, Reason.TLS, stage="connect", note=note)


async def hand_over(connection: Connection, job: Claimed, prepared: Prepared) -> Outcome | None:
    """One transaction. None: a reused connection had gone stale before any content was sent, which says nothing."""
    # The domain is ASCII since submission, so only the part before the @ can need SMTPUTF8 (RFC 6531 3.2).
    if not job.address.isascii() and "SMTPUTF8" not in connection.extensions:
        return _needs_smtputf8(connection.server)
    # RFC 5321 4.5.5: a notification has no sender to whom another could be sent.
    sender = returnpath.make(job.id, prepared.bounce_host) if job.mail_from else ""
    try:
        reply = await connection.send(sender, job.address, prepared, smtputf8=job.smtputf8)
    except Trouble as trouble:
        if connection.sent > 1 and trouble.stage in ("rset", "mail", "rcpt", "data"):
            return None
        return replace(broken(trouble, connection.server, connection.note), tls=connection.tls)
    if reply.code == 421 and reply.stage == "mail" and connection.sent > 1:
        # "Enough for one connection" or "idle for too long": said of the connection, not of this email.
        return None
    return judged(reply, connection.server, connection.tls, connection.note)


def _needs_smtputf8(server: Server) -> Outcome:
    text = "The recipient's server does not take internationalised addresses (SMTPUTF8)"
    return Outcome(Status.HARD_BOUNCE, Reason.PROTOCOL, "mail", 0, "5.6.7", host=server.host, ip=server.ip, note=text)


def judged(reply: Reply, server: Server, tls: str, note: str = "") -> Outcome:
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
        note,
    )


def broken(trouble: Trouble, server: Server, also: str = "") -> Outcome:
    """Transport trouble is always Deferred; after the final dot the server may have the email all the same."""
    note = f"{trouble.text}. {also}" if also else trouble.text
    if trouble.may_have_it:
        note = f"{note}. The whole email had been sent: the server may have accepted it"
    reason = Reason.TLS if trouble.tls else Reason.NETWORK
    return Outcome(Status.DEFERRED, reason, trouble.stage, host=server.host, ip=server.ip, note=note)
