"""The program around the sessions: certificates, load balancers, several processes, and a stop that loses nothing."""

import asyncio
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from contextlib import suppress
from ipaddress import ip_network

import pytest
from django.core.management.base import CommandError
from django.db import connection

from activity.models import Message, Recipient
from relay.embedded.certificate import ensure_certificate
from relay.limits import place_of, plain_address
from relay.submission.certificate import Certificate
from relay.submission.server import Kind
from tests.stack import free_port_base
from tests.submission_world import MESSAGE, Talker, World, emails, forget_clients, submission, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def proxied(tmp_path, settings):
    settings.PROXY_NETWORKS = [ip_network("127.0.0.0/8")]
    with submission(tmp_path) as world:
        yield world


SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 192.0.2.55 198.51.100.1 4711 587\r\n"
V2 = (
    SIGNATURE
    + struct.pack("!BBH", 0x21, 0x21, 36)
    + socket.inet_pton(socket.AF_INET6, "2001:db8::55")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack("!HH", 4711, 587)
)


@pytest.mark.parametrize(("header", "address"), [(V1, "192.0.2.55"), (V2, "2001:db8::55")])
@pytest.mark.parametrize("kind", [Kind.STARTTLS, Kind.TLS])
def test_a_proxy_says_for_which_client_it_speaks(proxied, kind, header, address):
    client = Talker(proxied.ports[kind])
    client.send(header)
    if kind is Kind.TLS:
        client.wrap()
    assert client.reply().startswith("220")
    client.ask("EHLO client.test")
    if kind is Kind.STARTTLS:
        client.starttls()
        client.ask("EHLO client.test")
    client.login(proxied.credential.username, proxied.secret)
    assert client.message("a@example.org").startswith("250")
    assert Message.objects.get().client == f"{address} (client.test)"


def v2(command, family, addresses=b"", extra=b""):
    """A header of version 2: what it says, the addresses and ports, and other fields (TLV) behind them."""
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(addresses + extra)) + addresses + extra


PORTS = struct.pack("!HH", 4711, 587)
V4 = socket.inet_aton("192.0.2.55") + socket.inet_aton("198.51.100.1") + PORTS
MAPPED = socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.55") * 2 + PORTS
AUTHORITY = b"\x02\0\x0crelay.test.x" + b"\x04\0\x03\0\0\0" + b"\xe0\0\x02hi"
NAMES = {
    "a proxy that speaks for itself": (v2(0, 0), "127.0.0.1"),
    "the same with addresses to be ignored": (v2(0, 0x11, V4), "127.0.0.1"),
    "fields behind the addresses": (v2(1, 0x11, V4, AUTHORITY), "192.0.2.55"),
    "IPv4 written as IPv6": (v2(1, 0x21, MAPPED), "192.0.2.55"),
    "a client that has no address": (v2(1, 0x31, b"/tmp/a".ljust(216, b"\0")), "127.0.0.1"),
    "an unspecified client": (v2(1, 0, b"", AUTHORITY), "127.0.0.1"),
    "an unknown client in version 1": (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    "an unknown client with addresses": (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "127.0.0.1"),
    "IPv6 in version 1": (b"PROXY TCP6 2001:db8::55 2001:db8::1 4711 587\r\n", "2001:db8::55"),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_proxy_header_is_read_and_not_a_byte_more(proxied, name):
    header, address = NAMES[name]
    client = Talker(proxied.ports[Kind.STARTTLS])
    client.send(header + b"EHLO client.test\r\n")
    assert client.reply().startswith("220")
    assert client.reply().startswith("250")
    assert [wire.peer for wire in proxied.server.wires] == [address]
    assert list(proxied.server.slots) == [place_of(address)]


BAD_HEADERS = [
    b"EHLO client.test\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP4 no such thing\r\n",
    b"PROXY TCP4 192.0.2.55 198.51.100.1 99999 587\r\n",
    b"PROXY TCP4 192.0.2.55 198.51.100.1 4711 587\n",
    b"PROXY " + b"x" * 200,
    SIGNATURE + b"\x31\x11\0\x0c" + V4,
    SIGNATURE + b"\x21\x11\0\x04" + V4[:4],
    SIGNATURE + b"\x2f\xff\0\0",
    b"\0" * 40,
]


@pytest.mark.parametrize("header", BAD_HEADERS)
def test_a_proxy_without_a_good_header_is_cut_off(proxied, header):
    client = Talker(proxied.ports[Kind.STARTTLS])
    client.send(header)
    with suppress(ConnectionResetError):
        assert client.reply() == ""
    assert not proxied.server.wires


def test_who_is_no_proxy_is_not_believed(tmp_path, settings):
    settings.PROXY_NETWORKS = [ip_network("192.0.2.0/24")]
    with submission(tmp_path) as world:
        client = world.connect()
        client.send(V1)
        assert client.reply().startswith("220")
        assert client.reply().startswith("500")
        assert [wire.peer for wire in world.server.wires] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:DB8::7", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_a_client_has_one_address_however_it_came(given, address):
    assert plain_address(given) == address
    assert plain_address("/run/socket") == ""


def test_the_plain_listener_takes_nobodys_word(proxied):
    proxied.credential.networks = ["127.0.0.0/8", "192.0.2.0/24"]
    proxied.credential.save()
    client = Talker(proxied.ports[Kind.PLAIN])
    client.send(V1)
    assert client.reply().startswith("220")
    assert client.reply().startswith("500")
    client.ask("EHLO client.test")
    assert client.ask("MAIL FROM:<shop@boutique.example>").startswith("530")


def test_a_renewed_certificate_is_used_from_the_next_connection_on(tmp_path):
    files = (tmp_path / "certificate.pem", tmp_path / "key.pem")
    with submission(tmp_path) as world:
        open_one = world.ready()
        before = ssl.get_server_certificate(("127.0.0.1", world.ports[Kind.TLS]))
        world.server.certificate.reload()
        assert ssl.get_server_certificate(("127.0.0.1", world.ports[Kind.TLS])) == before
        for path in files:
            path.unlink()
        with pytest.raises(OSError, match="No such file"):
            world.server.certificate.reload()
        ensure_certificate(*files, "renewed.test")
        world.server.certificate.reload()
        after = ssl.get_server_certificate(("127.0.0.1", world.ports[Kind.TLS]))
        assert after != before
        assert after.strip() == files[0].read_text().strip()
        assert open_one.ask("NOOP").startswith("250")


def test_a_certificate_that_does_not_fit_its_key_is_not_used(tmp_path):
    """Such as between the two writes of an ACME client."""
    ensure_certificate(tmp_path / "other.pem", tmp_path / "other.key", "renewed.test")
    with submission(tmp_path) as world:
        before = ssl.get_server_certificate(("127.0.0.1", world.ports[Kind.TLS]))
        for half in ("other.pem", "half a file"):
            text = (tmp_path / half).read_text() if half == "other.pem" else half
            (tmp_path / "certificate.pem").write_text(text)
            with pytest.raises(ssl.SSLError):
                world.server.certificate.reload()
            assert ssl.get_server_certificate(("127.0.0.1", world.ports[Kind.TLS])) == before
        (tmp_path / "certificate.pem").write_text((tmp_path / "other.pem").read_text())
        (tmp_path / "key.pem").write_text((tmp_path / "other.key").read_text())
        world.server.certificate.reload()
        assert ssl.get_server_certificate(("127.0.0.1", world.ports[Kind.TLS])) != before


def test_the_certificate_is_looked_at_again_and_again(tmp_path, caplog):
    ensure_certificate(tmp_path / "other.pem", tmp_path / "other.key", "renewed.test")
    with submission(tmp_path) as world:
        certificate = world.server.certificate
        watching = asyncio.run_coroutine_threadsafe(certificate.keep_fresh(0.05), world.loop.loop)
        (tmp_path / "key.pem").unlink()
        wait_for(lambda: "the old one stays in use" in caplog.text)
        (tmp_path / "key.pem").write_text((tmp_path / "other.key").read_text())
        (tmp_path / "certificate.pem").write_text((tmp_path / "other.pem").read_text())
        other = (tmp_path / "other.pem").read_text().strip()
        wait_for(lambda: ssl.get_server_certificate(("127.0.0.1", world.ports[Kind.TLS])).strip() == other)
        watching.cancel()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused(tmp_path):
    with submission(tmp_path) as world:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", world.ports[Kind.TLS])) as raw, pytest.raises(ssl.SSLError):
            context.wrap_socket(raw)


def test_a_missing_certificate_is_said_at_the_start(tmp_path):
    with pytest.raises(CommandError, match="RELAY_TLS_CERTIFICATE"):
        Certificate(tmp_path / "none.pem", tmp_path / "none.key")


class Program:
    """`manage.py submission` as a process of its own, on the test's database."""

    def __init__(self, home, base, **settings):
        ensure_certificate(home / "tls" / "certificate.pem", home / "tls" / "key.pem", "relay.test")
        name = connection.settings_dict["NAME"]
        url = os.environ["DATABASE_URL"]
        head, _, query = url.partition("?")
        url = head.rpartition("/")[0] + f"/{name}" + (f"?{query}" if query else "")
        environment = {**os.environ, "DATABASE_URL": url, "RELAY_HOME": str(home), **settings}
        environment["RELAY_PORT_BASE"] = str(base)
        self.log = (home / "log").open("ab")
        command = [sys.executable, "manage.py", "submission"]
        self.ports = {Kind.STARTTLS: base + 1, Kind.TLS: base + 2}
        self.log_file = home / "log"
        self.wanted = self.said() + len(self.ports)
        self.process = subprocess.Popen(command, env=environment, stderr=self.log)

    def said(self):
        return self.log_file.read_bytes().count(b"listening on")

    def wait_until_it_listens(self):
        wait_for(lambda: self.said() == self.wanted or self.process.poll() is not None, 60)
        assert self.process.poll() is None, self.log_file.read_text()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture
def programs(tmp_path):
    forget_clients()
    started = []
    base = free_port_base()

    def start(**settings):
        started.append(Program(tmp_path, base, **settings))
        started[-1].wait_until_it_listens()
        return started[-1]

    yield start
    for program in started:
        program.end()


def test_a_stop_finishes_the_message_in_hand_and_sends_the_others_away(programs):
    program = programs()
    world = World(None, None, program.ports)
    busy, idle = world.ready(), world.ready()
    busy.begin_message("a@example.org")
    assert busy.ask("DATA").startswith("354")
    busy.send(MESSAGE)
    program.stop()
    started = time.monotonic()
    assert idle.reply().startswith("421 4.3.2")
    assert idle.reply() == ""
    busy.send(b".\r\n")
    assert busy.reply().startswith("250 2.0.0")
    assert busy.reply().startswith("421 4.3.2")
    assert program.process.wait(10) == 0
    assert time.monotonic() - started < 10
    assert emails() == {"a@example.org": ("accepted", "")}


def test_a_stop_does_not_wait_for_a_client_that_never_ends(programs):
    program = programs()
    client = World(None, None, program.ports).ready()
    client.begin_message("a@example.org")
    client.ask("DATA")
    program.stop()
    assert program.process.wait(15) == 0
    assert not Recipient.objects.exists()


def test_a_port_that_is_taken_ends_the_program_at_once(tmp_path):
    base = free_port_base()
    with socket.create_server(("127.0.0.1", base + 2)):
        program = Program(tmp_path, base)
        assert program.process.wait(60) != 0
    program.end()
    assert (
        f"Cannot listen on 127.0.0.1:{base + 2} (implicit TLS): Address already in use" in program.log_file.read_text()
    )


def test_a_guesser_is_blocked_by_all_processes(programs):
    first, _ = (programs(RELAY_LOGIN_FAILURES="3") for _ in range(2))
    world = World(None, None, first.ports)

    def guess():
        client = world.connect(Kind.TLS)
        client.reply()
        client.ask("EHLO client.test")
        return client.login(world.credential.username, "wrong")[:9]

    assert [guess() for _ in range(3)] == ["535 5.7.8"] * 3
    assert [guess() for _ in range(8)] == ["421 4.7.0"] * 8, "whichever process answers"


def test_connections_and_messages_are_bounded_over_all_processes(programs):
    first, _ = (programs(RELAY_CREDENTIAL_CONNECTIONS="4") for _ in range(2))
    world = World(None, None, first.ports)
    world.account.messages_a_minute = 4
    world.account.save()
    time.sleep(2.5)  # they tell each other once a second
    clients = [world.ready() for _ in range(4)]
    assert [client.message("a@example.org")[:3] for client in clients] == ["250"] * 4
    time.sleep(2.5)
    assert [client.ask("MAIL FROM:<shop@boutique.example>")[:3] for client in clients] == ["450"] * 4
    for _ in range(6):
        late = world.greeted()
        assert late.login(world.credential.username, world.secret).startswith("421 4.7.0 Too many connections")


def test_several_processes_share_the_ports(programs):
    first, second = programs(), programs()
    world = World(None, None, first.ports)
    for number in range(6):
        assert world.ready().message(f"r{number}@example.org").startswith("250")
    first.stop()
    assert first.process.wait(15) == 0
    for number in range(6, 9):
        assert world.ready().message(f"r{number}@example.org").startswith("250")
    assert len(emails()) == 9
    assert second.process.poll() is None
