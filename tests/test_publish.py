"""Publishing our zone at a real name server (Knot DNS) by signed updates."""

import base64
import datetime as dt
import io
import itertools
import time
from types import SimpleNamespace

import dns.query
import dns.rdatatype
import dns.tsig
import dns.update
import dns.xfr
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.utils import timezone

from domains import publish
from domains.answers import text_of
from domains.finding import State
from domains.keys import public_key_of
from domains.look import look_now
from domains.models import DkimKey, Domain
from domains.own import own_domain
from domains.primary import Primary, Trouble
from domains.records import ZoneRecord, records_of
from domains.zone import key_record
from relay import tasks
from relay.checks import zone_can_be_published
from tests.dns_servers import FIRST, Knot, Unbound, free_port, zone_text
from tests.factories import make_account, make_domain

pytestmark = pytest.mark.django_db

SECRET = base64.b64encode(b"a secret between operator and us").decode()
KEYS = f"""
key:
  - id: relay
    algorithm: hmac-sha256
    secret: {SECRET}
  - id: writer
    algorithm: hmac-sha512
    secret: {SECRET}
  - id: stranger
    algorithm: hmac-sha256
    secret: {SECRET}
acl:
  - id: ours
    key: relay
    action: [transfer, update]
  - id: writers
    key: writer
    action: update
  - id: everybody
    address: 127.0.0.0/8
    action: query
"""
OPERATORS = ["www A 192.0.2.80", '@ TXT "operator-verification=abc"', "abcdefghijklmnopqrst.other A 192.0.2.81"]


@pytest.fixture
def server(settings, monkeypatch):
    """Serves an empty zone of ours beside what the operator keeps in it, and takes updates."""
    cache.clear()
    knot = Knot([FIRST], free_port(FIRST), KEYS, journal=True)
    knot.serve("relay.test", zone_text("relay.test", *OPERATORS), "    acl: [ours, writers]\n")
    settings.ZONE, settings.PUBLISH_SERVER = "relay.test", (FIRST, knot.port)
    settings.TSIG_NAME, settings.TSIG_SECRET, settings.TSIG_ALGORITHM = "relay", SECRET, "hmac-sha256"
    monkeypatch.setattr(publish, "BACK_OFF", (0.05, 0.1, 0.4))
    yield knot
    knot.close()


@pytest.fixture(scope="module")
def private_keys():
    return itertools.cycle([rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(7)])


@pytest.fixture(autouse=True)
def quick_keys(private_keys, monkeypatch):
    """Making a key takes longer than publishing it."""
    monkeypatch.setattr("domains.keys.rsa.generate_private_key", lambda **_: next(private_keys))


@pytest.fixture
def domain():
    made = make_domain(make_account(), "boutique.example")
    made.make_keys()
    return made


def shown(server, name, rdtype):
    """Values as records of ours have them."""
    return sorted(text_of(data) for data in server.ask(name, rdtype))


def run(*arguments):
    out = io.StringIO()
    call_command("publish", *arguments, stdout=out)
    return out.getvalue()


def change_by_hand(server, *changes):
    """An operator's update: `("add", name, ttl, type, text)` and the like."""
    message = dns.update.UpdateMessage("relay.test.", keyring=dns.tsig.Key("relay", SECRET))
    for what, *values in changes:
        getattr(message, what)(*values)
    assert dns.query.tcp(message, FIRST, port=server.port, timeout=5).rcode() == 0


def test_what_every_customer_record_leads_to_is_published(server, domain):
    told = run()
    for key in domain.keys.all():
        assert shown(server, key_record(key).name, "TXT") == [key.txt]
    bounce = records_of(domain)[2].target
    assert shown(server, bounce, "MX") == ["10 mx.relay.test"]
    assert shown(server, bounce, "TXT") == ["v=spf1 a:smtp.relay.test -all"]
    assert f"+ {bounce}. MX 10 mx.relay.test" in told
    assert "changes were published" in told


def test_our_own_names_are_published_and_what_the_operator_keeps_there_stays(server, settings):
    settings.ZONE_ADDRESSES = {4: "192.0.2.25"}
    run()
    assert shown(server, "relay.test", "MX") == ["10 mx.relay.test"]
    assert shown(server, "relay.test", "TXT") == ["operator-verification=abc", "v=spf1 a:smtp.relay.test -all"]
    assert shown(server, "mx.relay.test", "A") == ["192.0.2.25"]
    assert shown(server, "_dmarc.relay.test", "TXT") == ["v=DMARC1; p=reject; rua=mailto:postmaster@relay.test"]
    assert shown(server, "_smtp._tls.relay.test", "TXT") == ["v=TLSRPTv1; rua=mailto:postmaster@relay.test"]
    assert shown(server, "r1._domainkey.relay.test", "CNAME") == [f"{own_domain().token}.r1.dkim.relay.test"]
    assert shown(server, "www.relay.test", "A") == ["192.0.2.80"]
    assert shown(server, "abcdefghijklmnopqrst.other.relay.test", "A") == ["192.0.2.81"]


def test_published_again_nothing_changes(server, domain):
    run()
    serial = server.ask("relay.test", "SOA")[0].serial
    assert run() == "The name server shows our zone.\n"
    assert server.ask("relay.test", "SOA")[0].serial == serial


def test_drift_is_shown_and_nothing_is_changed(server, domain):
    run()
    assert run("--check") == "The name server shows our zone.\n"
    target = records_of(domain)[0].target
    change_by_hand(
        server,
        ("replace", f"{target}.", 300, "TXT", '"v=DKIM1; p=drifted"'),
        ("replace", "relay.test.", 300, "MX", "5 elsewhere.example."),
    )
    out = io.StringIO()
    with pytest.raises(CommandError, match="differs from our zone at 2 places") as stopped:
        call_command("publish", "--drift", stdout=out)
    assert stopped.value.returncode == 1
    assert f'- {target}. TXT "v=DKIM1; p=drifted"' in out.getvalue()
    assert "- relay.test. MX 5 elsewhere.example." in out.getvalue()
    assert "+ relay.test. MX 10 mx.relay.test" in out.getvalue()
    assert shown(server, target, "TXT") == ["v=DKIM1; p=drifted"]


def test_what_drifted_is_put_right(server, domain):
    run()
    target = records_of(domain)[0].target
    change_by_hand(
        server,
        ("replace", f"{target}.", 300, "TXT", '"v=DKIM1; p=drifted"', '"v=spf1 -all"'),
        ("delete", "_dmarc.relay.test."),
        ("add", "relay.test.", 300, "TXT", '"v=spf1 a:old.relay.test -all"'),
        ("add", f"{records_of(domain)[2].target}.", 300, "A", "192.0.2.99"),
    )
    run()
    assert shown(server, target, "TXT") == [domain.keys.get(slot=1).txt]
    assert shown(server, "_dmarc.relay.test", "TXT") == ["v=DMARC1; p=reject; rua=mailto:postmaster@relay.test"]
    assert shown(server, "relay.test", "TXT") == ["operator-verification=abc", "v=spf1 a:smtp.relay.test -all"]
    assert shown(server, records_of(domain)[2].target, "A") == []


def test_a_text_in_other_pieces_is_the_same_text(server, domain):
    run()
    key = domain.keys.get(slot=1)
    pieces = " ".join(f'"{key.txt[start : start + 100]}"' for start in range(0, len(key.txt), 100))
    change_by_hand(server, ("replace", f"{key_record(key).name}.", 300, "TXT", pieces))
    assert run("--check") == "The name server shows our zone.\n"


def test_an_alias_where_a_key_belongs_is_replaced(server, domain):
    target = records_of(domain)[1].target
    change_by_hand(server, ("add", f"{target}.", 300, "CNAME", "elsewhere.example."))
    run()
    assert shown(server, target, "CNAME") == []
    assert shown(server, target, "TXT") == [domain.keys.get(slot=2).txt]


def test_what_the_server_takes_and_does_not_show_is_no_success(server):
    """RFC 2136 3.4.2.2: a CNAME beside other records is ignored, and the answer is NOERROR."""
    change_by_hand(server, ("add", "r1._domainkey.relay.test.", 300, "TXT", '"the operator\'s"'))
    with pytest.raises(CommandError, match=r"does not show them: r1\._domainkey\.relay\.test CNAME"):
        run()
    assert shown(server, "r1._domainkey.relay.test", "TXT") == ["the operator's"]


def test_a_removed_domain_is_withdrawn(server, domain):
    run()
    names = [record.target for record in records_of(domain)]
    domain.delete()
    told = run()
    for name in names:
        assert shown(server, name, "TXT") == []
        assert f"- {name}. TXT" in told


# Of new keys and domains the task publishes only what is new.


def renew(domain, slot):
    key = domain.keys.get(slot=slot)
    fresh = DkimKey(domain=domain, slot=slot)
    fields = {
        "private_key": fresh.private_key,
        "public_key": public_key_of(fresh.private_key),
        "created_at": timezone.now(),
    }
    DkimKey.objects.filter(pk=key.pk).update(**fields)
    return domain.keys.get(slot=slot)


def test_a_new_key_and_a_new_domain_are_published_without_reading_the_whole_zone(server, domain, monkeypatch):
    publish.publish_changes()
    monkeypatch.setattr(Primary, "_transfer", None)
    assert publish.publish_changes() == []
    key = renew(domain, 2)
    added = make_domain(make_account(), "added.example")
    added.make_keys()
    publish.publish_changes()
    assert shown(server, key_record(key).name, "TXT") == [key.txt]
    assert shown(server, records_of(added)[2].target, "MX") == ["10 mx.relay.test"]


def test_a_look_finds_a_new_key_once_it_is_published(server, domain, settings):
    """The way a rotation goes: nobody finds a key that was only made."""
    resolver = Unbound(server.port)
    try:
        settings.DNS_SERVER, settings.DNS_PORT = ("127.0.0.1", resolver.port), server.port
        settings.PRIVATE_MX = True
        lines = [f"{record.name}. CNAME {record.target}." for record in records_of(domain)]
        server.serve("boutique.example", zone_text("boutique.example", *lines))
        for zone in ("boutique.example", "relay.test"):
            resolver.lead(zone, FIRST)
        publish.publish_changes()
        assert {finding.state for finding in look_now(domain).records.values()} == {State.VALIDATED}

        key = renew(domain, 2)
        picture = look_now(Domain.objects.get(pk=domain.pk))
        assert (picture.records["dkim2"].state, picture.records["dkim2"].problem) == (State.SPREADING, "our_zone")
        assert "r2" not in picture.keys

        publish.publish_changes()
        resolver.forget()
        assert look_now(Domain.objects.get(pk=domain.pk)).keys["r2"] == key.public_key
    finally:
        resolver.close()


def test_after_a_while_the_whole_zone_is_compared(server, domain):
    publish.publish_changes()
    names = [record.target for record in records_of(domain)]
    domain.delete()
    assert publish.publish_changes() == []
    assert publish.publish_changes(timezone.now() + dt.timedelta(hours=2))
    assert [shown(server, name, "TXT") for name in names] == [[], [], []]


def test_what_could_not_be_published_is_published_the_next_time(server, domain, settings):
    publish.publish_changes()
    key = renew(domain, 1)
    settings.TSIG_SECRET = base64.b64encode(b"wrong").decode()
    with pytest.raises(Trouble):
        publish.publish_changes()
    settings.TSIG_SECRET = SECRET
    publish.publish_changes(timezone.now() + dt.timedelta(minutes=30))
    assert shown(server, key_record(key).name, "TXT") == [key.txt]


def test_one_worker_publishes_at_a_time(server, domain):
    cache.add(publish.BUSY, True)
    assert publish.publish_changes() == []
    cache.delete(publish.BUSY)
    assert publish.publish_changes()
    assert cache.get(publish.BUSY) is None


def test_the_task_publishes_and_leaves_trouble_to_the_next_time(server, domain, settings, caplog):
    server.stop()
    tasks.publish_zone()
    assert "our zone is not published" in caplog.text
    server.restart()
    tasks.publish_zone()
    assert shown(server, records_of(domain)[2].target, "MX") == ["10 mx.relay.test"]


def test_a_key_that_cannot_sign_is_told_at_the_start(settings, monkeypatch):
    monkeypatch.setattr("relay.settings.PUBLISH_SERVER", ("192.0.2.53", 53))
    (problem,) = zone_can_be_published()
    assert problem.id == "relay.E004"
    monkeypatch.setattr("relay.settings.TSIG_NAME", "relay")
    monkeypatch.setattr("relay.settings.TSIG_SECRET", SECRET)
    assert zone_can_be_published() == []


# Somebody else changes the zone too.


def test_nothing_is_changed_that_somebody_else_changed_meanwhile(server, domain):
    run()
    key = renew(domain, 1)
    changes = publish.drift()
    target = key_record(key).name
    change_by_hand(server, ("replace", f"{target}.", 300, "TXT", '"v=DKIM1; p=newer"'))
    assert Primary().update(changes) is False
    assert shown(server, target, "TXT") == ["v=DKIM1; p=newer"]
    run()
    assert shown(server, target, "TXT") == [key.txt]


def test_a_record_of_the_operators_between_reading_and_writing_stays(server, domain):
    changes = publish.drift()
    change_by_hand(server, ("add", "relay.test.", 300, "TXT", '"second-verification=x"'))
    for change in changes:
        assert Primary().update([change])
    assert "second-verification=x" in shown(server, "relay.test", "TXT")


# Trouble.


def test_a_key_without_the_right_to_transfer_still_publishes(server, domain, settings):
    settings.TSIG_NAME, settings.TSIG_ALGORITHM = "writer", "HMAC-SHA512"
    assert "changes were published" in run()
    assert run("--check") == "The name server shows our zone.\n"
    assert shown(server, records_of(domain)[2].target, "MX") == ["10 mx.relay.test"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"TSIG_SECRET": base64.b64encode(b"another secret").decode()}, "another secret for the key relay"),
        ({"TSIG_NAME": "nobody"}, "does not take the key nobody"),
        ({"TSIG_NAME": "stranger"}, "does not take the key stranger"),
        ({"TSIG_NAME": ""}, "nothing is published without a signature"),
        ({"TSIG_SECRET": "not base 64"}, "are no key"),
        ({"TSIG_ALGORITHM": "hmac-rot13"}, "are no key"),
        ({"PUBLISH_SERVER": None}, "RELAY_PUBLISH_SERVER is empty"),
        ({"ZONE": "other.test"}, "has no zone other.test for this key"),
    ],
    ids=lambda value: next(iter(value.items()))[1] if isinstance(value, dict) else "",
)
def test_a_server_that_will_not_is_told_of_clearly(server, settings, wrong, told):
    for name, value in wrong.items():
        setattr(settings, name, value)
    for arguments in ((), ("--check",)):
        with pytest.raises(CommandError, match=told) as stopped:
            run(*arguments)
        assert stopped.value.returncode == 2


def test_a_clock_that_is_wrong_is_told_as_such(server, monkeypatch):
    """RFC 8945 5.2.3: five minutes are forgiven."""
    monkeypatch.setattr("dns.message.time", SimpleNamespace(time=lambda: time.time() + 3600))
    with pytest.raises(CommandError, match="clock"):
        run()


def test_a_server_that_is_down_is_tried_again_until_it_is_back(server, domain, monkeypatch):
    run()
    key = renew(domain, 1)
    server.stop()
    began = time.monotonic()
    with pytest.raises(CommandError, match="cannot be reached"):
        run()
    assert time.monotonic() - began >= 0.5, "it was tried again, later each time"

    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 2:
            server.restart()

    monkeypatch.setattr(publish, "time", SimpleNamespace(sleep=sleep))
    run()
    assert slept == [0.05, 0.1]
    assert shown(server, key_record(key).name, "TXT") == [key.txt]


def test_a_thousand_domains_in_one_go(server, capsys):
    account = make_account()
    domains = Domain.objects.bulk_create(Domain(account=account, name=f"shop{n}.example") for n in range(1000))
    private = DkimKey(domain=domains[0], slot=1).private_key
    DkimKey.objects.bulk_create(
        DkimKey(domain=domain, slot=slot, private_key=private, public_key=f"{'A' * 390}{domain.pk}x{slot}")
        for domain in domains
        for slot in (1, 2)
    )
    began = time.monotonic()
    done = publish.publish()
    took = time.monotonic() - began
    began = time.monotonic()
    assert publish.drift() == []
    with capsys.disabled():
        print(f" {len(done)} changes published in {took:.1f} s, compared in {time.monotonic() - began:.1f} s ", end="")
    assert len(done) >= 4000
    for domain in (domains[0], domains[-1]):
        assert shown(server, records_of(domain)[2].target, "MX") == ["10 mx.relay.test"]


def test_a_value_with_quotes_and_backslashes_survives(server):
    record = ZoneRecord("abcdefghijklmnopqrst.bounce.relay.test", "TXT", 'say "yes" \\ ' + "x" * 300)
    (change,) = [each for each in publish.differences([record], {}) if each.name == record.name]
    assert Primary().update([change])
    assert shown(server, record.name, "TXT") == [record.value]


def test_a_big_zone_is_read_though_we_are_busy(server, monkeypatch):
    """A server does not wait long for a slow reader: Knot gives up after half a second."""
    lines = [f'other{number} TXT "{"x" * 250}" "{"y" * 250}" "{"z" * 250}"' for number in range(12_000)]
    server.serve("relay.test", zone_text("relay.test", *lines), server.zones["relay.test"])
    process = dns.xfr.Inbound.process_message
    slow = itertools.chain([1.5, 1.5], itertools.repeat(0))

    def slowly(self, message):
        time.sleep(next(slow))
        return process(self, message)

    monkeypatch.setattr(dns.xfr.Inbound, "process_message", slowly)
    standing = Primary().read([])
    assert len([name for name, rdtype in standing if rdtype == "TXT"]) == 12_000
