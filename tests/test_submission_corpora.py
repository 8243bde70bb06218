"""Other projects' collections through our door: addresses, awkward MIME, SMTP dialogues; and what a fuzzer makes up."""

import ast
import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from activity.models import MessageContent, Recipient
from relay.submission.addresses import InvalidAddress, check, parse_path
from relay.submission.server import Kind
from tests.awkward_mime import REFUSED, REPAIRED, as_it_arrives
from tests.submission_world import submission, wait_for

CORPORA = Path("../shared/corpora")
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not CORPORA.exists(), reason="needs ../shared/corpora"),
]


@pytest.fixture
def world(tmp_path):
    with submission(tmp_path) as world:
        world.server.max_errors = 1_000_000
        world.server.refusals.buckets.burst = 1_000_000
        yield world


def rows(name):
    return [json.loads(line) for line in (CORPORA / name).open()]


def takes(address):
    try:
        check(address, smtputf8=True)
    except InvalidAddress:
        return False
    return True


def test_addresses_that_are_errors_are_refused_and_valid_ones_taken():
    categories = [(row["address"], row.get("category", "")) for row in rows("addresses-expected.jsonl")]
    assert [address for address, category in categories if category == "ISEMAIL_ERR" and takes(address)] == []
    valid = [address for address, category in categories if category == "ISEMAIL_VALID_CATEGORY"]
    assert [address for address in valid if not takes(address)] == []
    assert all(parse_path(f"<{address}> SIZE=1").address == address for address in valid)


def with_from(raw):
    """The message with a From of ours first, and without its own From and Bcc."""
    head, separator, body = raw.partition(b"\r\n\r\n")
    fields = re.sub(rb"(?im)^(?:from|(?:resent-)?bcc)[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", b"", head + b"\r\n")
    return b"From: Shop <shop@boutique.example>\r\n" + fields + (b"\r\n" + body if separator else b"")


def send(client, number, raw):
    stuffed = (b"\r\n" + raw).replace(b"\r\n.", b"\r\n..")[2:]
    return client.message(f"r{number}@example.org", content=stuffed)


def test_awkward_mime_is_carried_byte_for_byte_or_refused(world):
    client, refused, repaired = world.ready(), set(), set()
    for number, row in enumerate(rows("mime-index.jsonl")):
        name, sent = Path(row["file"]).name, with_from((CORPORA / "files" / row["file"]).read_bytes())
        reply = send(client, number, sent)
        if reply.startswith("250"):
            if row["bare_lf"]:
                sent = re.sub(rb"(?<!\r)\n", b"\r\n", sent)
            body = bytes(MessageContent.objects.get(pk=reply.rpartition(" ")[2]).body)
            if not body.endswith(sent):
                repaired.add(name)
                sent = as_it_arrives(sent, name)
            assert body.endswith(sent), name
            assert b"\r\n\r\n" not in body.removesuffix(sent), "only header fields are added"
        else:
            assert reply.startswith("550 5.6.0"), reply
            refused.add(name)
    assert (refused, repaired) == (set(REFUSED), set(REPAIRED))


def otherwise():
    """Where we answer otherwise than aiosmtpd's own tests want: {command: our code}, as docs/rfc.md gives it."""
    section = Path("docs/rfc.md").read_text().partition("\n## Where our answers differ from aiosmtpd's\n")[2]
    rows = re.findall(r"^\| `(.+)` \| (\d{3}) \| (?:\S.*\S) \|$", section.partition("\n## ")[0], re.MULTILINE)
    return dict(rows)


def dialogue():
    """(command, the code aiosmtpd's tests want) of every literal command with an answer right behind it."""
    for row in rows("aiosmtpd-sessions.jsonl"):
        for (_, kind, arguments), (_, then, wanted) in zip(row["steps"], row["steps"][1:], strict=False):
            if kind == "docmd" and then == "assert" and wanted[:3].isdigit():
                try:
                    yield str(ast.literal_eval(arguments[0])), wanted[:3]
                except (ValueError, SyntaxError):
                    continue


def test_commands_are_answered_as_aiosmtpd_answers_or_the_documents_say_why(world):
    explained, differ = otherwise(), set()
    for command, wanted in sorted(set(dialogue())):
        client = world.ready()
        if command.startswith(("RCPT", "DATA")):
            client.ask("MAIL FROM:<shop@boutique.example>")
        code = client.ask(command)[:3]
        client.close()
        if code != wanted:
            assert explained.get(command) == code, (command, code, wanted)
            differ.add(command)
    assert differ == explained.keys(), "the documents name a difference that is none"


PARTS = [
    *(b"EHLO a", b"HELO a", b"MAIL FROM:<shop@boutique.example>", b"MAIL FROM:<>", b"RCPT TO:<a@example.org>", b"RSET"),
    *(
        b"RCPT TO:<b@example.org>",
        b"DATA",
        b"NOOP",
        b"VRFY x",
        b"STARTTLS",
        b"AUTH PLAIN",
        b"AUTH LOGIN",
        b"*",
        b"QUIT",
    ),
    *(b"From: shop@boutique.example", b"", b".", b"..", b"\xff\xfe", b"\0", b"a\rb", b"MAIL FROM:<shop@", b"x" * 3_000),
]
LINES = st.lists(st.tuples(st.sampled_from(PARTS) | st.binary(max_size=40), st.sampled_from([b"\r\n", b"\n", b""])))


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES)
def test_no_dialogue_breaks_a_session_or_reaches_the_next(world, caplog, lines):
    client = world.ready(Kind.TLS)
    client.send(b"".join(line + end for line, end in lines) + b"\r\n.\r\nRSET\r\nNOOP end\r\n")
    while (reply := client.reply()) not in ("", "250 2.0.0 Nothing done"):
        assert re.match(r"[2345]\d\d[ -]", reply), reply
    client.close()
    wait_for(lambda: not world.server.wires)
    assert "a session failed" not in caplog.text
    assert world.server.room.used == 0
    assert not world.server.slots
    assert set(Recipient.objects.filter(status="accepted").values_list("address", flat=True)) <= {
        "a@example.org",
        "b@example.org",
    }
