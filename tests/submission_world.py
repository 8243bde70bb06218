"""Runs a whole submission server on free ports beside a test, and a raw client to talk to it."""

import base64
import ssl
import time
from contextlib import contextmanager

import redis
from django.conf import settings

from activity.models import Recipient, StatusEvent
from relay.embedded.certificate import ensure_certificate
from relay.submission.certificate import Certificate
from relay.submission.listeners import bound_socket, open_port
from relay.submission.server import Kind, Server
from tests.factories import make_account, make_credential, make_domain
from tests.mail_world import Client, Loop

MESSAGE = b"From: Shop <shop@boutique.example>\r\nSubject: Your receipt\r\n\r\nThank you.\r\n"


class World:
    """A running submission server, and Alice's account with what it needs to send."""

    def __init__(self, loop, server, ports):
        self.loop, self.server, self.ports = loop, server, ports
        self.account = make_account(name="Alice's shop")
        self.domain = make_domain(self.account)
        self.credential, self.secret = make_credential(self.account)

    def connect(self, kind=Kind.STARTTLS):
        return Talker(self.ports[kind], tls=kind is Kind.TLS)

    def greeted(self, kind=Kind.TLS):
        """A client that has said EHLO."""
        client = self.connect(kind)
        assert client.reply().startswith("220")
        assert client.ask("EHLO client.test").startswith("250")
        return client

    def ready(self, kind=Kind.TLS):
        """A client that has said EHLO and has logged in."""
        client = self.greeted(kind)
        if kind is Kind.STARTTLS:
            client.starttls()
            client.ask("EHLO client.test")
        if kind is not Kind.PLAIN:
            assert client.login(self.credential.username, self.secret).startswith("235")
        return client


class Talker(Client):
    def __init__(self, port, tls=False):
        super().__init__(port)
        if tls:
            self.wrap()

    def wrap(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.file.close()
        self.socket = context.wrap_socket(self.socket)
        self.file = self.socket.makefile("rb")

    def starttls(self):
        assert self.ask("STARTTLS").startswith("220")
        self.wrap()

    def login(self, username, secret):
        return self.ask("AUTH PLAIN " + base64.b64encode(f"\0{username}\0{secret}".encode()).decode())

    def begin_message(self, *recipients, sender="shop@boutique.example", parameters=""):
        """MAIL and RCPT; the replies to the RCPTs."""
        assert self.ask(f"MAIL FROM:<{sender}>{parameters}").startswith("250")
        return [self.ask(f"RCPT TO:<{recipient}>") for recipient in recipients]

    def content(self, message=MESSAGE):
        """DATA with `message` as it is (no dot-stuffing); the reply to the final dot."""
        assert self.ask("DATA").startswith("354")
        self.send(message + b".\r\n")
        return self.reply()

    def message(self, *recipients, content=MESSAGE, **options):
        replies = self.begin_message(*recipients, **options)
        assert all(reply.startswith("250") for reply in replies), replies
        return self.content(content)


def forget_clients():
    """Failed log-ins and what processes tell each other outlive the servers of an earlier test."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    for pattern in ("login:*", "submission:*"):
        for key in client.scan_iter(pattern):
            client.delete(key)


@contextmanager
def submission(tmp_path):
    forget_clients()
    loop = Loop()
    files = (tmp_path / "certificate.pem", tmp_path / "key.pem")
    ensure_certificate(*files, "relay.test")
    certificate = Certificate(*files)

    async def start():
        server = await Server.open(certificate)
        sockets = {kind: bound_socket("127.0.0.1", 0) for kind in Kind}
        ports = {kind: listener.getsockname()[1] for kind, listener in sockets.items()}
        return server, ports, [await open_port(server, kind, listener) for kind, listener in sockets.items()]

    async def stop():
        for listener in listeners:
            listener.close()
        await server.close()

    server, ports, listeners = loop.run(start())
    try:
        wait_for(lambda: server.directory.listening)
        yield World(loop, server, ports)
    finally:
        loop.run(stop())
        loop.close()


def wait_for(condition, seconds=10):
    """The first true value of `condition`, asked again and again."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)
    return value


def emails():
    """{address: (status, reason)} of every row of the Activity tab."""
    return {email.address: (email.status, email.reason) for email in Recipient.objects.all()}


def the_email(address):
    """A row and its only event; waits for rows that are written while nobody waits for them."""
    email = wait_for(lambda: Recipient.objects.filter(address=address).first())
    return email, StatusEvent.objects.get(recipient_id=email.pk)
