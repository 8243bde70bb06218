"""Reports that want to hurt: whatever comes, understanding ends soon, in little memory, without an exception."""

import gzip
import random
import resource
import time
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.bounces import dsn, mime, notice
from relay.bounces.mime import MAX_BYTES, MAX_DEPTH, MAX_PARTS
from relay.bounces.report import Kind, Report
from relay.bounces.understanding import understand

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
# Generous: the worst of them takes about one second on an idle machine. What is quadratic takes minutes.
CPU_SECONDS = 20.0
MEMORY = 200_000_000

DAEMON = b"From: MAILER-DAEMON@x.test\nSubject: failure notice\n"
MULTIPART = DAEMON + b"Content-Type: multipart/report; boundary=%s\n\n"
MEGABYTE = 1_000_000


def nested_multiparts(depth):
    opening = b"".join(b"--%d\nContent-Type: multipart/mixed; boundary=%d\n\n" % (n, n + 1) for n in range(depth))
    return MULTIPART % b"0" + opening + b"--%d\n\nuser unknown\n" % depth


def nested_messages(depth):
    return DAEMON + b"Content-Type: message/rfc822\n\n" * depth + b"\nuser unknown"


def many_parts(number, kind=b"text/plain"):
    return MULTIPART % b"b" + b"--b\nContent-Type: %s\n\n<a@b.test>: user unknown\n" % kind * number + b"--b--\n"


def many_blocks(number):
    block = (
        b"Final-Recipient: rfc822; u%d@b.test\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no\n\n"
    )
    blocks = b"".join(block % n for n in range(number))
    return MULTIPART % b"b" + b"--b\nContent-Type: message/delivery-status\n\n" + blocks


def html(text):
    return DAEMON + b"Content-Type: text/html\n\n" + text


def text(body):
    return DAEMON + b"\n" + body


HOSTILE = {
    "nothing": b"",
    "one long line": text(b"x" * 10 * MEGABYTE),
    "no header": b"x" * 10 * MEGABYTE,
    "only line ends": b"\n" * 10 * MEGABYTE,
    "only carriage returns": b"\r" * 10 * MEGABYTE,
    "only NUL": b"\0" * 10 * MEGABYTE,
    "only at signs": text(b"@" * MEGABYTE),
    "addresses without end": text(b"a@b." * MEGABYTE),
    "many addresses": text(b"<a@b.test>\n" * 100_000),
    "many addresses on one line": text(b"a@b.test " * 100_000),
    "local parts without a domain": text(b"a" * 100_000 + b"@"),
    "spaces": text(b" " * MEGABYTE + b"x"),
    "reply codes": text(b"550 5.1.1 " * 100_000),
    "rulers": text((b"-" * 150 + b"\n") * 50_000),
    "announcements": text(b"this is here below " * 100_000),
    "announcements on lines": text(b"here is the original message text of the your copy of\n" * 20_000),
    "a header that begins again and again": text(b"Received: x\nX\n" * 50_000),
    "header flood": b"X-A: b\n" * 1_000_000,
    "header of one field": b"Subject: " + b"x" * 10 * MEGABYTE,
    "header folded": DAEMON + b"X-A: b\n" + b" c\n" * 1_000_000,
    "header of names": b"a" * MEGABYTE + b": b\n\n",
    "encoded words": DAEMON + b"Subject: " + b"=?utf-8?q?=41?= " * 100_000 + b"\n\n",
    "an encoded word in an evil charset": b"Subject: =?punycode?q?" + b"a" * 60_000 + b"-?=\n\nuser unknown",
    "an encoded word in a charset without a name": "Subject: =?ó*f-8?q?=41?=\n\nuser unknown".encode(),
    "an evil charset": DAEMON + b"Content-Type: text/plain; charset=punycode\n\n" + b"a-" + b"b" * 100_000,
    "a charset that is no charset": DAEMON + b"Content-Type: text/plain; charset=zlib\n\n" + b"x",
    "parameters": DAEMON + b"Content-Type: text/plain;" + b' a="b";' * 100_000 + b"\n\n",
    "10,000 parts": many_parts(10_000),
    "10,000 empty parts": MULTIPART % b"b" + b"--b\n" * 10_000,
    "10,000 messages": many_parts(10_000, b"message/rfc822"),
    "10,000 delivery reports": many_parts(10_000, b"message/delivery-status"),
    "nested multiparts": nested_multiparts(5_000),
    "nested messages": nested_messages(20_000),
    "the same boundary in itself": MULTIPART % b"b" + b"--b\nContent-Type: multipart/mixed; boundary=b\n\n" * 20_000,
    "boundary of dashes": MULTIPART % b"-" + b"---\n" * 200_000,
    "boundary that never comes": MULTIPART % b"x" + b"--y\n" * 200_000,
    "boundaries to guess": MULTIPART % b"x" + b"--" + b"-" * MEGABYTE,
    "many recipients": many_blocks(10_000),
    "blocks without fields": MULTIPART % b"b" + b"--b\nContent-Type: message/delivery-status\n\n" + b"x\n\n" * 200_000,
    "a recipient that never ends": MULTIPART % b"b"
    + b"--b\nContent-Type: message/delivery-status\n\nFinal-Recipient: rfc822; "
    + b"\\x{41}" * 100_000,
    "tags without end": html(b"<" * MEGABYTE),
    "tags within tags": html(b"<a " * 100_000),
    "styles without end": html(b"<style>" * 50_000),
    "comments without end": html(b"<!--" * 50_000),
    "entities": html(b"&amp;" * 100_000),
    "base64 of anything": DAEMON
    + b"Content-Transfer-Encoding: base64\n\n"
    + b64encode(random.Random(1).randbytes(500_000)),
    "base64 that is none": DAEMON + b"Content-Transfer-Encoding: base64\n\n" + b"=a=" * 300_000,
    "quoted-printable": DAEMON + b"Content-Transfer-Encoding: quoted-printable\n\n" + b"=4=\n" * 200_000,
    "JSON in JSON": DAEMON + b'\n{"notificationType":"Bounce","bounce":' + b"[" * 90_000,
    "feedback without end": DAEMON + b"\nFeedback-Type: abuse\n" + b"A: b\n" * 100_000,
    "tokens": text(b"b+" + b"a" * 42 + b"@x\n") * 20_000,
    "a gzip bomb": DAEMON
    + b"Content-Encoding: gzip\nContent-Transfer-Encoding: base64\n\n"
    + b64encode(gzip.compress(bytes(50_000_000))),
}


def healthy(raw):
    """Understood, and not only by the net under every exception."""
    report = understand(raw)
    assert isinstance(report, Report)
    assert report.explanation != "It could not be read."
    return report


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_report_costs_little(name):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    report = healthy(HOSTILE[name])
    assert time.process_time() - began < CPU_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY
    assert len(report.recipients) <= dsn.MAX_RECIPIENTS
    assert all(len(said.diagnostic) <= 1000 for said in report.recipients)


def test_parts_depth_and_bytes_are_bounded():
    def count(part):
        return 1 + sum(map(count, part.parts))

    def depth(part):
        return 1 + max(map(depth, part.parts), default=0)

    assert count(mime.read(many_parts(10_000))) == MAX_PARTS
    assert depth(mime.read(nested_multiparts(500))) == MAX_DEPTH + 1
    assert depth(mime.read(nested_messages(500))) == MAX_DEPTH + 1
    assert len(mime.read(b"\n" + b"x" * 3 * MAX_BYTES).body) == MAX_BYTES - 1


def test_what_is_compressed_stays_so():
    bomb = gzip.compress(b"<a@b.test>: 550 5.1.1 user unknown")
    assert understand(DAEMON + b"Content-Encoding: gzip\n\n" + bomb).recipients[0].address == ""


def test_the_real_report_in_front_of_a_flood_is_understood():
    raw = many_blocks(1) + b"\n--b\nContent-Type: message/rfc822\n\n" + b"x\n" * 5_000_000
    report = understand(raw)
    assert (report.kind, report.recipients[0].address) == (Kind.BOUNCE, "u0@b.test")


def test_a_report_that_claims_many_tokens_keeps_few():
    raw = text(b"".join(b"b+%s@x.test\n" % bytes([97 + n % 26]) * 42 for n in range(10_000)))
    assert len(understand(raw).return_paths) <= 10


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_are_understood(raw):
    healthy(raw)


WORDS = st.sampled_from(
    [
        *(
            "From: MAILER-DAEMON@x.test",
            "Subject: Undelivered",
            "Content-Type: multipart/report; boundary=b",
            "--b",
            "--b--",
            "",
        ),
        *(
            "Content-Type: message/delivery-status",
            "Content-Type: message/rfc822",
            "Content-Type: text/html",
            "<p>",
            "a@b.test",
        ),
        *(
            "Final-Recipient: rfc822; a@b.test",
            "Action: failed",
            "Action: delayed",
            "Status: 5.1.1",
            "Feedback-Type: abuse",
        ),
        *(
            "Diagnostic-Code: smtp; 550 5.1.1 <a@b.test> user unknown",
            "<a@b.test>:",
            "550 5.1.1 user unknown",
            "\ud800",
            "\x00",
        ),
        *(
            "----- Original message -----",
            "Received: by x with y",
            "Content-Transfer-Encoding: base64",
            "=?utf-8?q?a?=",
        ),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=40), st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))
def test_any_order_of_the_words_of_reports_is_understood(words, line_end):
    healthy(line_end.join(words).encode("utf-8", "surrogatepass"))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_any_text_may_stand_in_the_fields_of_a_recipient(address, status, diagnostic):
    block = {"final-recipient": address, "status": status, "diagnostic-code": diagnostic, "action": status}
    assert dsn.said(block)[0] in Kind


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=80), max_size=30))
def test_any_lines_are_a_notice(lines):
    end, start = notice.returned_from(lines)
    assert 0 <= end <= start <= len(lines)


@pytest.mark.skipif(not CORPORA.is_dir(), reason="needs ../shared/corpora")
def test_real_reports_with_random_damage_are_understood():
    """A bounded run of a fuzzer: bytes are changed, removed, doubled and mixed; the seed makes it repeatable."""
    chance = random.Random(20261122)
    samples = [path.read_bytes()[:20_000] for path in sorted((CORPORA / "files").rglob("*.eml"))[::12]]
    for _ in range(400):
        raw = bytearray(chance.choice(samples))
        for _ in range(chance.randint(1, 12)):
            at, size = chance.randrange(len(raw) + 1), chance.randrange(60)
            change = chance.choice(
                [b"", chance.randbytes(size), bytes(raw[at : at + size]) * 2, chance.choice(samples)[:size]]
            )
            raw[at : at + size] = change
        healthy(bytes(raw))
