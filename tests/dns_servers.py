"""Real name servers beside a test: Knot DNS for zones that the test scripts, Unbound as a validating resolver.

All listen on loopback addresses; every authoritative server uses the same port, as in the world outside.
"""

import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import dns.dnssec
import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import pytest

from relay.simulator.zone import Zone
from tests.mail_world import dns_running

FIRST, SECOND, OTHER, SCRIPTED, SILENT = (f"127.0.1.{number}" for number in range(1, 6))
RESOLVER = "127.0.0.1"
SERIALS = iter(range(1, 1_000_000))

KNOT = """
server:
    rundir: "{folder}"
    listen: [{listen}]
    udp-workers: 1
    tcp-workers: 2
    background-workers: 1
    udp-max-payload: 1232
log:
  - target: stderr
    any: warning
control:
    listen: "{folder}/control"
database:
    storage: "{folder}"
    journal-db-max-size: 50M
    kasp-db-max-size: 20M
    timer-db-max-size: 10M
{keys}
policy:
  - id: signed
    algorithm: ecdsap256sha256
    single-type-signing: on
acl:
  - id: readers
    address: 127.0.0.0/8
    action: transfer
template:
  - id: default
    storage: "{folder}"
    semantic-checks: off
    zonefile-sync: -1
    zonefile-load: {load}
    journal-content: {journal}
zone:
{zones}
"""

UNBOUND = """
server:
    interface: {address}
    port: {port}
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: "{folder}/pid"
    do-daemonize: no
    use-syslog: no
    logfile: ""
    do-not-query-localhost: no
    do-ip6: no
    num-threads: 1
    edns-buffer-size: 1232
    max-udp-size: {udp}
    root-hints: ""
    module-config: "validator iterator"
    local-zone: "test." nodefault
    local-zone: "127.in-addr.arpa." nodefault
    {anchors}
remote-control:
    control-enable: yes
    control-interface: "{folder}/control"
    control-use-cert: no
stub-zone:
    name: "."
    stub-prime: no
    stub-addr: {first}@{server_port}
"""


def is_free(address, port):
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def free_port(*addresses):
    """A port that is free on all of them, for UDP and TCP."""
    while True:
        with socket.socket() as probe:
            probe.bind((addresses[0], 0))
            port = probe.getsockname()[1]
        if all(is_free(address, port) for address in addresses):
            return port


def zone_text(name, *lines, servers=(FIRST,), ttl=60, negative=5):
    """A zone whose name servers are at these addresses; `lines` in zone-file form, names relative to the zone."""
    names = [f"ns{number}" for number, _ in enumerate(servers, 1)]
    head = [f"$ORIGIN {name}.", f"$TTL {ttl}", f"@ SOA ns1 hostmaster {next(SERIALS)} 3600 600 86400 {negative}"]
    head += [f"@ NS {server}" for server in names]
    head += [f"{server} A {address}" for server, address in zip(names, servers, strict=True)]
    return "\n".join([*head, *lines, ""])


class Server:
    """A program in the foreground with a folder of its own."""

    def __init__(self, program):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
        self.program = program
        # A socket's path has room for 100 bytes only.
        self.folder = Path(tempfile.mkdtemp(prefix="dns-"))
        self.process = None

    def start(self, *arguments):
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([self.program, *arguments], stdout=log, stderr=log, cwd=self.folder)
        try:
            self.wait()
        except AssertionError:
            self.stop()
            raise

    def wait(self):
        for _ in range(200):
            if self.process.poll() is None and self.answers():
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def answers(self):
        query = dns.message.make_query("ready.invalid", "SOA")
        try:
            dns.query.udp(query, self.address, port=self.port, timeout=0.2)
        except (OSError, dns.exception.DNSException):
            return False
        return True

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def close(self):
        self.stop()
        shutil.rmtree(self.folder)


class Knot(Server):
    """`keys` and the options of a zone are in Knot's own configuration language."""

    def __init__(self, addresses, port, keys="", journal=False):
        super().__init__("knotd")
        self.address, self.port = addresses[0], port
        listen = ", ".join(f"{address}@{port}" for address in addresses)
        load, content = ("difference-no-serial", "all") if journal else ("whole", "none")
        self.config = {"folder": self.folder, "listen": listen, "keys": keys, "load": load, "journal": content}
        self.zones = {}
        self.write()
        self.start("-c", "knot.conf")

    def restart(self):
        self.start("-c", "knot.conf")
        while not all(self.ask(name, "SOA") for name in self.zones):
            time.sleep(0.05)

    def write(self):
        zones = "\n".join(
            f'  - domain: {name}.\n    file: "{name or "root"}.zone"\n{options}' for name, options in self.zones.items()
        )
        (self.folder / "knot.conf").write_text(KNOT.format(**self.config, zones=zones))

    def serve(self, name, text, options=""):
        """From now on this is the zone."""
        self._file(name).write_text(text)
        if self.zones.get(name) != options:
            self.zones[name] = options
            self.write()
            self.control("reload")
        self.control("zone-reload", f"{name}.")

    def serve_only(self, **zones):
        """Forget every other zone; {name: text}."""
        if zones or self.zones:
            for name, text in zones.items():
                self._file(name).write_text(text)
            self.zones = dict.fromkeys(zones, "")
            self.write()
            self.control("reload")
            self.control("zone-reload", *(f"{name}." for name in zones))

    def _file(self, name):
        return self.folder / f"{name or 'root'}.zone"

    def control(self, *words):
        command = ["knotc", "-b", "-s", str(self.folder / "control"), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout

    def signed(self, name, text):
        """Serve the zone with DNSSEC; returns its DS record, for a resolver to trust."""
        self.serve(name, text, "    dnssec-signing: on\n    dnssec-policy: signed\n    acl: readers\n")
        for _ in range(100):
            for key in self.ask(name, "DNSKEY"):
                return f"{name}. DS {dns.dnssec.make_ds(f'{name}.', key, 'SHA256')}"
            time.sleep(0.05)
        raise AssertionError(f"{name} was not signed")

    def ask(self, name, rdtype):
        """The records of one name and type."""
        message = dns.message.make_query(name, rdtype)
        response, _ = dns.query.udp_with_fallback(message, self.address, port=self.port, timeout=5)
        wanted = dns.rdatatype.RdataType.make(rdtype)
        return [data for rrset in response.answer for data in rrset if rrset.rdtype == wanted]


class Unbound(Server):
    def __init__(self, server_port, udp=1232):
        super().__init__("unbound")
        self.address, self.port = RESOLVER, free_port(RESOLVER)
        self.server_port, self.udp = server_port, udp
        self.anchors, self.led = (), {}
        self.write()
        self.start("-d", "-c", "unbound.conf")

    def write(self, *anchors):
        config = {"folder": self.folder, "address": self.address, "port": self.port, "udp": self.udp}
        config |= {"first": FIRST, "server_port": self.server_port}
        lines = "\n    ".join(f"trust-anchor: '{anchor}'" for anchor in anchors)
        (self.folder / "unbound.conf").write_text(UNBOUND.format(**config, anchors=lines))

    def trust(self, *anchors):
        """Believe only signed answers from below these; everything remembered is forgotten."""
        self.write(*anchors)
        self.control("reload")
        self.wait()
        self.anchors, led, self.led = anchors, self.led, {}
        for zone, addresses in led.items():
            self.lead(zone, *addresses)

    def lead(self, zone, *addresses):
        """The zone's name servers are at these addresses."""
        if self.led.get(zone) != addresses:
            if zone in self.led:
                self.control("stub_remove", zone)
            self.led[zone] = addresses
            self.control("stub_add", zone, *(f"{address}@{self.server_port}" for address in addresses))

    def forget(self):
        """Everything remembered, and every server it was led to but the usual ones."""
        if self.anchors:
            self.trust()
        for zone in [zone for zone, addresses in self.led.items() if addresses != (FIRST,)]:
            self.control("stub_remove", zone)
            del self.led[zone]
        self.control("flush_zone", ".")
        self.control("flush_infra", "all")

    def control(self, *words):
        command = ["unbound-control", "-c", "unbound.conf", *words]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=20, cwd=self.folder)


class Network:
    """Two addresses of one Knot, one of another, a scripted server, and a resolver that knows them all."""

    def __init__(self):
        self.port = free_port(FIRST, SECOND, OTHER, SCRIPTED, SILENT)
        self.servers, self.root = [], zone_text("")
        try:
            self.knot = self.started(Knot, [FIRST, SECOND], self.port)
            self.other = self.started(Knot, [OTHER], self.port)
            self.resolver = self.started(Unbound, self.port)
        except BaseException:
            self.close()
            raise

    def started(self, kind, *arguments):
        server = kind(*arguments)
        self.servers.append(server)
        return server

    def close(self):
        for server in self.servers:
            server.close()

    def forget(self, **zones):
        """Nothing is served but these zones, and nothing is remembered."""
        self.knot.serve_only(**{"": self.root}, **zones)
        self.other.serve_only()
        self.resolver.forget()
        for zone in zones:
            self.resolver.lead(zone, FIRST)

    def zone(self, name, *lines, at=None, servers=(FIRST,), lead=None, **options):
        """Serve a zone; the resolver asks those `servers`, or the ones to `lead` it to."""
        (at or self.knot).serve(name, zone_text(name, *lines, servers=servers, **options))
        self.resolver.lead(name, *(lead or servers))

    @contextmanager
    def scripted(self, name, zone=None):
        """Our simulator's server for this zone, which can fail and serve what a real one refuses to load."""
        zone = zone or Zone()
        zone.add(name, "SOA", f"ns.{name} hostmaster.{name} 1 3600 600 86400 5")
        zone.add(name, "NS", f"ns.{name}")
        zone.add(f"ns.{name}", "A", SCRIPTED)
        self.resolver.lead(name, SCRIPTED)
        with dns_running(zone, SCRIPTED, self.port):
            yield zone
