"""What a fuzzer drives: each target takes bytes, runs what reads them in submission, and raises Broken if that fails.

Whole sessions run in memory: a real server without sockets and with its database replaced by three answers.
"""

import asyncio
import re
import socket
import time
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address

import dkim

from domains.models import LoginEvent
from domains.senders import Sender
from relay.delivery.sign import canonical_fields
from relay.submission import logins, server
from relay.submission.data import Content
from relay.submission.listeners import Session
from relay.submission.message import Malformed, parse, rewritten
from relay.submission.proxy import client_of
from relay.submission.server import Kind, Server
from relay.submission.wire import Wire

MAX_BYTES = 5_000  # of a message: so small that inputs reach it
SLOW = 5.0  # seconds for one input; usual is a thousandth of that
REPLY = re.compile(rb"(?:[2345]\d\d[ -][^\r\n]*\r\n)*")
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
RUNNER = asyncio.Runner()
ALICE = Sender(1, 1, suspended=False, bound_to="", domains={"boutique.example": 1})


class Broken(Exception):
    """What must never happen has happened."""


def check(truth, what):
    if not truth:
        raise Broken(what)


@contextmanager
def timed(what):
    started = time.monotonic()
    yield
    check(time.monotonic() - started < SLOW, f"{what} was slow")


class Pipe(asyncio.Transport):
    """The server's side of a connection; what it says is kept."""

    def __init__(self, tls):
        self.extra, self.said, self.closed, self.reading = {"peername": ("127.0.0.1", 1)}, bytearray(), False, True
        if tls:
            self.extra["ssl_object"] = object()

    def get_extra_info(self, name, default=None):
        return self.extra.get(name, default)

    def write(self, data):
        self.said += data

    def get_write_buffer_size(self):
        return 0

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    abort = close

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


class Away:
    """The database: nothing connects to it."""

    def connection(self):
        raise OSError("away")

    async def close(self, timeout=0):
        pass


class Kept:
    """In place of the group commit: what was accepted or refused."""

    def __init__(self):
        self.arrivals = []

    async def accept(self, arrival):
        if arrival.recipients:
            self.arrivals.append(arrival.read_body())

    async def close(self):
        pass


async def identify(kind, peer, login):
    return ALICE if login or kind is Kind.PLAIN else None


async def authenticate(username, secret):
    right = secret == "right"
    return (1, LoginEvent.Result.ACCEPTED) if right else (None, LoginEvent.Result.UNKNOWN)


async def nothing(*args, **kwargs):
    return None


class Dialogues:
    """Runs sessions on one server, which must be as it was after each of them."""

    def __init__(self):
        logins.DELAYS = (0.0,)
        server.settings.MAX_MESSAGE_BYTES = MAX_BYTES
        self.runner = asyncio.Runner()
        self.server = self.runner.run(self.open())

    async def open(self):
        made = Server(Away(), _Certificate())
        for task in [*made.tasks, made.committer.task]:
            task.cancel()
        made.committer = made.refusals.committer = Kept()
        made.identify, made.suppression, made.directory.authenticate = identify, nothing, authenticate
        made.directory.ask = nothing
        made.messages_a_minute = 10**9
        return made

    def run(self, data):
        """The first byte chooses the listener and how the rest is cut."""
        with timed("a session"):
            return self.runner.run(asyncio.wait_for(self.talk(data), SLOW))

    async def talk(self, data):
        made = self.server
        made.committer.arrivals.clear()
        made.logins.failures.here.counts.clear()
        made.rates.levels.clear()
        kind = Kind.PLAIN if data[0] & 1 else Kind.TLS
        size = (1, 7, 500, 100_000)[data[0] >> 1 & 3]
        pipe = Pipe(kind is Kind.TLS)
        wire = Wire(partial(Session.serve, made, kind))
        wire.connection_made(pipe)
        for at in range(1, len(data), size):
            wire.data_received(data[at : at + size])
            while not pipe.reading and not pipe.closed:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        wire.eof_received()
        await wire.task
        self.judge(bytes(pipe.said))
        return made.committer.arrivals

    def judge(self, said):
        made = self.server
        check(said.startswith((b"220 ", b"421 ")), "no greeting")
        check(REPLY.fullmatch(said.replace(b"334 \r\n", b"").replace(b"334 ", b"250 ")), "a reply is none")
        check(b"Internal error" not in said, "a session failed")
        check(made.room.used == 0, "room is not given back")
        check(not made.slots and not made.wires, "the connection is not forgotten")
        for body in made.committer.arrivals:
            check(not BARE.search(body), "what is sent on would smuggle")
            check(len(body) < MAX_BYTES + 2_000, "a message is over the limit")
            can_be_signed(body)

    def close(self):
        self.runner.close()


class _Certificate:
    async def keep_fresh(self):
        pass


def read_data(data):
    """However the bytes are cut, the DATA reader finds the same end, the same problem and the same message."""
    with timed("the DATA reader"):
        whole = reading(data, [len(data)])
        cuts = [1 + data[0]] * (len(data) // (1 + data[0]) + 1)
        check(reading(data, cuts) == whole, "the message depends on how it is cut")
        behind, problem, content = whole
        check(problem is not None or not BARE.search(content), "what is sent on would smuggle")
        check(behind is None or data.endswith(b"\r\n.\r\n" + behind) or data == b".\r\n" + behind, "no such end")


def reading(data, cuts):
    held = 0

    def reserve(size):
        nonlocal held
        held += size
        return True

    content = Content(MAX_BYTES, server.settings.HOME, reserve)
    behind, at = None, 0
    for cut in cuts:
        behind = content.feed(data[at : at + cut])
        at += cut
        if behind is not None:
            break
    result = (None if behind is None else behind + data[at:], content.problem, content.read(MAX_BYTES + 1))
    if behind is None:  # the rest of the line is still looked at: nothing is settled
        result = (None, None, b"")
    content.close()
    check(held == 0, "room is not given back")
    return result


def read_header(data):
    """What the header block is taken for; what is taken can be signed, and independent verifiers read it as we do."""
    with timed("the header block"):
        try:
            header = parse(data)
        except Malformed:
            return
        block = rewritten(header, "id", "smtp.relay.test", "ESMTP", 0.0)
        check(header.sender.count("@") >= 1, "a sender without a domain")
        if not BARE.search(data):
            can_be_signed(block + b"\r\n")


def read_proxy_header(data):
    """A load balancer's header is read to its end and no further, or the connection is cut."""
    with timed("the PROXY header"):
        client, rest = RUNNER.run(behind_proxy(data))
        if client is not None:
            check(not client or str(ip_address(client)) == client, "what is read is no address")
            check(data.endswith(rest) and len(rest) < len(data), "more is read than the header")


async def behind_proxy(data):
    """(the client's address or None, what was left unread)."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        return await client_of(ours), ours.recv(len(data))


def can_be_signed(message):
    head = message[: message.find(b"\r\n\r\n") + 2] if b"\r\n\r\n" in message else message
    ours = [name for name, _ in canonical_fields(head)]
    theirs = [name.lower() for name, _ in dkim.rfc822_parse(message)[0]]
    check(ours == theirs, "verifiers read other fields than we signed")
