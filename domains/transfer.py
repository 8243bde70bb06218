"""Reads a whole zone by AXFR (RFC 5936), as fast as the server sends it.

Servers do not wait for a slow reader (Knot DNS half a second), and understanding a record takes longer than sending it:
so a thread takes in what comes.
"""

import queue
import socket
import threading
import time
from contextlib import suppress

import dns.exception
import dns.message
import dns.rdatatype
import dns.xfr
import dns.zone

PATIENCE = 10.0  # seconds without a message
LONGEST = 300.0


def transfer(query: dns.message.Message, zone: dns.zone.Zone, address: tuple[str, int]) -> None:
    """Fills the zone; `query` is a signed one for AXFR. Raises DNSException, OSError, EOFError."""
    wire = query.to_wire()
    frames: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    with socket.create_connection(address, PATIENCE) as connection:
        reader = threading.Thread(target=_take_in, args=(connection, frames), daemon=True)
        connection.sendall(len(wire).to_bytes(2) + wire)
        reader.start()
        try:
            _understand(query, zone, frames)
        finally:
            _end(connection)
            reader.join()


def _take_in(connection: socket.socket, frames: queue.SimpleQueue[bytes | None]) -> None:
    """Each message has its length before it; None at the end."""
    with suppress(OSError), connection.makefile("rb") as stream:
        while len(length := stream.read(2)) == 2:
            frames.put(stream.read(int.from_bytes(length)))
    frames.put(None)


def _understand(query: dns.message.Message, zone: dns.zone.Zone, frames: queue.SimpleQueue[bytes | None]) -> None:
    ends, first, context = time.monotonic() + LONGEST, True, None
    with dns.xfr.Inbound(zone, dns.rdatatype.AXFR) as inbound:
        done = False
        while not done:
            if time.monotonic() > ends:
                raise dns.exception.Timeout
            try:
                frame = frames.get(timeout=PATIENCE)
            except queue.Empty:
                raise dns.exception.Timeout from None
            if frame is None:
                raise EOFError("the transfer broke off")
            message = dns.message.from_wire(
                frame,
                keyring=query.keyring,
                request_mac=query.mac,
                xfr=True,
                origin=zone.from_wire_origin(),
                tsig_ctx=context,
                multi=True,
            )
            if not query.is_response(message, xfr_continuation=not first):
                raise dns.exception.FormError("the answer to another question")  # type: ignore[no-untyped-call]
            # Nothing is kept of what was not signed at its beginning and at its end.
            first, done = False, inbound.process_message(message)
            context = message.tsig_ctx


def _end(connection: socket.socket) -> None:
    with suppress(OSError):  # The server was quicker.
        connection.shutdown(socket.SHUT_RDWR)
