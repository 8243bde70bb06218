"""The end of DATA: the content is judged, the header block rewritten, and the message committed."""

import logging
import time
from typing import TYPE_CHECKING

from activity.arrival import Arrival, Refusal
from domains.senders import ascii_name
from relay.submission import gate, message
from relay.submission.data import Content
from relay.submission.message import Header, Looping, Malformed
from relay.submission.transaction import Transaction

if TYPE_CHECKING:
    from relay.submission.server import Server

log = logging.getLogger(__name__)


async def accept(server: "Server", transaction: Transaction, content: Content, *, secure: bool) -> str:
    """The reply to the final dot; 250 only after the commit. Raises Unavailable."""
    transaction.size = content.size
    header, refusal = examine(server, transaction, content)
    if refusal is not None:
        return await refuse(server, transaction, header, refusal)
    arrival = transaction.arrival(header)
    arrival.domain_id = transaction.sender.domains[ascii_name(domain_of(header.sender))]
    write_header(server, arrival, header, content, protocol_of(transaction, secure=secure))
    server.refusals.bound(arrival)
    verdict = await server.committer.accept(arrival)
    transaction.refused.clear()
    if verdict is not None:
        server.refusals.remember_quota(arrival.account_id, len(arrival.recipients), verdict)
        log.info("refused %s of account %d: %s", arrival.id, arrival.account_id, verdict.reply)
        return verdict.reply
    log.debug("accepted %s of account %d for %d", arrival.id, arrival.account_id, len(arrival.recipients))
    return f"250 2.0.0 Accepted as {arrival.id}"


async def refuse(server: "Server", transaction: Transaction, header: Header, refusal: Refusal) -> str:
    """Record the refusal of every recipient, then the reply."""
    transaction.refuse_all(refusal)
    arrival = transaction.arrival(header)
    await server.refusals.record(arrival)
    transaction.refused.clear()
    if arrival.refused:  # logging has the bound that recording has
        log.info("refused %s of account %d: %s", arrival.id, arrival.account_id, refusal.reply)
    return refusal.reply


def examine(server: "Server", transaction: Transaction, content: Content) -> tuple[Header, Refusal | None]:
    """What the header block says, and why the message cannot be taken, if it cannot."""
    if content.problem is not None:
        return Header(), gate.unreadable(content.problem, server.max_bytes)
    header, sender = Header(), transaction.sender
    try:
        message.parse(content.read(message.MAX_HEADER + 4), header)
    except Looping as error:
        return header, gate.looping(str(error))
    except Malformed as error:
        return header, gate.malformed(str(error))
    refusal = (
        gate.suspended(sender, gate.END_OF_DATA)
        or gate.unauthenticated_domain(sender, domain_of(header.sender), "From", gate.END_OF_DATA)
        or server.refusals.quota_refusal(sender.account_id, len(transaction.recipients))
    )
    return header, refusal


def domain_of(address: str) -> str:
    return address.rpartition("@")[2]


def protocol_of(transaction: Transaction, *, secure: bool) -> str:
    """RFC 3848 and RFC 6531 4.3. Whoever uses TLS has logged in, and who does not cannot log in."""
    name = "UTF8SMTP" if transaction.smtputf8 else "ESMTP"
    return f"{name}SA" if secure else name


def write_header(server: "Server", arrival: Arrival, header: Header, content: Content, protocol: str) -> None:
    """Give the arrival its size and its bytes: our header block, then everything behind the customer's."""
    block = message.rewritten(header, arrival.id, server.hostname, protocol, time.time()) + header.repair
    arrival.header_id = header.message_id
    arrival.size = len(block) + content.size - header.length

    def read_body() -> bytes:
        return block + content.read_from(header.length)

    arrival.read_body = read_body
