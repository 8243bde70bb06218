"""Awkward MIME all the way: over a real SMTP session, through submission, accept and the engine, to the simulator.

Every message that is legal arrives byte for byte under our own header lines, with a signature that dkimpy and OpenDKIM
verify; six of them with one empty line put in, and five are refused (tests/awkward_mime.py names both). The others are
refused or mended, each as DESIGN says.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import dkim
import pytest

from activity.models import MessageContent
from domains.keys import make_private_key
from domains.models import DkimKey
from relay.submission.data import MAX_LINE
from tests.awkward_mime import REFUSED, REPAIRED, as_it_arrives
from tests.delivering import engine_running, simulated, wait_until
from tests.submission_world import emails, submission

CORPORA = Path("../shared/corpora")
WHY = "is not a header field, and no empty line stands before it"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not CORPORA.exists(), reason="needs ../shared/corpora"),
]

OWN_FROM = b"From: Shop <shop@boutique.example>\r\n"
REPLACED = re.compile(rb"(?im)^(?:from|(?:resent-)?bcc)[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*")
BARE_LF = re.compile(rb"(?<!\r)\n")
ADDED = re.compile(
    rb"DKIM-Signature:[^\n]*\n(?:[ \t][^\n]*\n)*Received:[^\n]*\n(?:[ \t][^\n]*\n)*"
    rb"(?:Message-ID: <[^\n]*>\r\n)?(?:Date: [^\n]*\r\n)?"
)


def rows(*, legal):
    found = map(json.loads, (CORPORA / "mime-index.jsonl").open())
    return [row for row in found if row["smtp_legal"] is legal]


def read(row):
    return (CORPORA / "files" / row["file"]).read_bytes()


def with_from(raw):
    """The message with a From of ours first, and without its own From and Bcc."""
    head, separator, body = raw.partition(b"\r\n\r\n")
    fields = REPLACED.sub(b"", head + b"\r\n")
    return OWN_FROM + fields + (b"\r\n" + body if separator else b"")


def stuffed(raw):
    return (b"\r\n" + raw).replace(b"\r\n.", b"\r\n..")[2:]


def dkimpy_reads(raw):
    """Whether an independent verifier can tell where the fields of this message are; without that it checks nothing."""
    try:
        dkim.rfc822_parse(raw)
    except dkim.MessageFormatError:
        return False
    return True


@pytest.fixture
def world(tmp_path):
    with submission(tmp_path) as world:
        DkimKey.objects.create(domain=world.domain, slot=1, active=True, private_key=make_private_key())
        world.server.refusals.buckets.burst = 1_000
        yield world


def submit(world, messages):
    """{address: our reply} to each message, sent to an address of its own."""
    client = world.ready()
    return {address: client.message(address, content=stuffed(raw)) for address, raw in messages.items()}


def carry(world, messages):
    """The refusals and what arrived, each {address: …}."""
    with simulated(keep_bytes=1 << 30) as simulator, engine_running():
        replies = submit(world, messages)
        refused = {address: reply for address, reply in replies.items() if not reply.startswith("250")}
        wait_until(lambda: simulator.received_count >= len(messages) - len(refused), 60, "arrival of all")
        return refused, {received.recipients[0]: received.content for received in simulator.received}


def opendkim_says(contents, key, folder):
    """What OpenDKIM says of each message, in order."""
    files = []
    for number, content in enumerate(contents):
        files.append(folder / str(number))
        files[-1].write_bytes(content)
    (folder / "dns").write_text(f"r1._domainkey.boutique.example {key}\n")
    (folder / "conf").write_text(f"Mode v\nTestDNSData file:{folder / 'dns'}\nSyslog no\n")
    command = ["opendkim", "-x", str(folder / "conf"), "-v", "-t", ",".join(map(str, files))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "PATH": PATH})
    return re.findall(r"verification \(s=r1, d=boutique\.example[^)]*\) (\w+)", done.stdout + done.stderr)


def test_every_legal_message_arrives_byte_for_byte_with_a_signature_that_verifies(world, tmp_path):
    names = {f"r{number}@dest.test": Path(row["file"]).name for number, row in enumerate(rows(legal=True))}
    messages = {f"r{number}@dest.test": with_from(read(row)) for number, row in enumerate(rows(legal=True))}
    refused, arrived = carry(world, messages)
    key = world.domain.keys.get().txt
    assert arrived.keys() == messages.keys() - refused.keys()
    for address, content in arrived.items():
        sent = as_it_arrives(messages[address], names[address])
        assert content.endswith(sent), names[address]
        assert ADDED.fullmatch(content.removesuffix(sent)), names[address]
        assert dkim.verify(content, dnsfunc=lambda name, timeout=5: key.encode()), names[address]

    unreadable = {names[address] for address, raw in messages.items() if not dkimpy_reads(raw)}
    assert unreadable == REPAIRED.keys() | REFUSED.keys(), "repaired or refused is only what dkimpy cannot sign"
    assert {names[address]: reply for address, reply in refused.items()} == {
        name: f"550 5.6.0 The message cannot be sent: line {line} {WHY}" for name, (line, _) in REFUSED.items()
    }
    assert len(refused) <= 0.03 * len(messages)
    rejected = {address for address, status in emails().items() if status == ("rejected", "malformed_message")}
    assert rejected == refused.keys(), "each is a row"

    (tmp_path / "dkim").mkdir()
    if not shutil.which("opendkim", path=PATH):
        pytest.skip("needs opendkim")
    # One has a field of 138 KB: OpenDKIM takes no header block over 64 KB.
    readable = [content for content in arrived.values() if content.find(b"\r\n\r\n") < 65_000]
    assert len(readable) >= len(arrived) - 1
    assert opendkim_says(readable, key, tmp_path / "dkim") == ["succeeded"] * len(readable)


def test_the_illegal_ones_are_mended_or_carried_as_design_says(world):
    """Bare LF becomes CRLF and lines up to 64 KB are carried: then they too are legal, signed and verified."""
    illegal = rows(legal=False)
    messages = {f"r{number}@dest.test": with_from(read(row)) for number, row in enumerate(illegal)}
    assert {row["bare_lf"] or 998 < row["max_line"] <= MAX_LINE for row in illegal} == {True}
    refused, arrived = carry(world, messages)
    key = world.domain.keys.get().txt
    assert not refused
    for address, content in arrived.items():
        mended = BARE_LF.sub(b"\r\n", messages[address])
        assert content.endswith(mended), address
        assert ADDED.fullmatch(content.removesuffix(mended)), address
        assert dkim.verify(content, dnsfunc=lambda name, timeout=5: key.encode()), address
        assert not BARE_LF.search(content), address


@pytest.mark.parametrize("line", [b"no field\r\n", b"A Name: x\r\n", b"\xef\xbb\xbfX-Mark: x\r\n", b"X-Gap : x\r\n"])
def test_what_no_verifier_could_read_is_refused_with_its_line_and_never_sent(world, line):
    content = OWN_FROM + line + b"Subject: x\r\n\r\nHello\r\n"
    assert not dkimpy_reads(content)
    reply = world.ready().message("r@dest.test", content=content)
    assert reply.startswith("550 5.6.0 The message cannot be sent: line 2 is not a header field"), reply
    assert emails() == {"r@dest.test": ("rejected", "malformed_message")}
    assert not MessageContent.objects.exists()
