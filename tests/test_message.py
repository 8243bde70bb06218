"""The header block: what is read, what is removed and added, and what cannot be sent. No socket, no database."""

import uuid
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.submission.message import Looping, Malformed, parse, rewritten

ID = uuid.UUID("01a2056a-7eeb-7568-a339-d25cf2b925f6")
NOON = 1_763_812_800.0


def rewrite(head, protocol="ESMTPSA"):
    return rewritten(parse(head), ID, "smtp.relay.test", protocol, NOON)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("shop@boutique.example", "shop@boutique.example"),
        ("<shop@boutique.example>", "shop@boutique.example"),
        ("The Shop <shop@boutique.example>", "shop@boutique.example"),
        ('"Shop, the" <shop@boutique.example>', "shop@boutique.example"),
        (r'"a \"quoted\" <x@y.example>" <shop@boutique.example>', "shop@boutique.example"),
        ("=?utf-8?q?Caf=C3=A9?= <shop@boutique.example>", "shop@boutique.example"),
        ("Café <shop@boutique.example>", "shop@boutique.example"),
        ("info@boutique.example <shop@boutique.example>", "shop@boutique.example"),
        ("shop@boutique.example (The Shop)", "shop@boutique.example"),
        ('"the shop"@boutique.example', '"the shop"@boutique.example'),
        ("The\r\n Shop\r\n\t<shop@boutique.example>", "shop@boutique.example"),
        ("Dörte <dörte@münchen.example>", "dörte@münchen.example"),
    ],
)
def test_the_mailbox_of_from_is_found(value, address):
    assert parse(f"From: {value}\r\n\r\n".encode()).sender == address


@pytest.mark.parametrize(
    "value",
    [
        "",
        "shop",
        "The Shop",
        "a@boutique.example, b@boutique.example",
        "a@boutique.example; b@boutique.example",
        "<a@boutique.example> <b@bank.example>",
        "a@boutique.example <b@bank.example> c@d.example",
        "Team: a@boutique.example;",
        "undisclosed-recipients:;",
        "shop@",
        "@boutique.example",
        "(" * 900 + ")" * 900,
        '"' * 1_000,
        "x" * 2_001 + "@boutique.example",
        "a" + " " * 100_000 + "b",
    ],
)
def test_a_from_without_exactly_one_mailbox_is_malformed(value):
    with pytest.raises(Malformed):
        parse(f"From: {value}\r\n\r\n".encode())


def test_fields_are_carried_as_they_came_behind_ours():
    head = b"from : no\r\n"
    with pytest.raises(Malformed):
        parse(head)
    fields = b"DATE: x\r\nmessage-id:<1@a>\r\nFrom:a@b.example\r\nX-Odd:  \xe9\xff \r\n\t folded  \r\n"
    block = rewrite(fields + b"\r\nbody")
    assert (
        block
        == (
            b"Received: by smtp.relay.test with ESMTPSA\r\n\tid "
            + str(ID).encode()
            + b"; Sat, 22 Nov 2025 12:00:00 +0000\r\n"
        )
        + fields
    )


def test_a_missing_date_and_message_id_are_added():
    header = parse(b"From: shop@boutique.example\r\n\r\n")
    block = rewritten(header, ID, "smtp.relay.test", "ESMTP", NOON)
    assert b"\r\nMessage-ID: <01a2056a-7eeb-7568-a339-d25cf2b925f6@boutique.example>\r\n" in block
    assert b"\r\nDate: Sat, 22 Nov 2025 12:00:00 +0000\r\n" in block
    assert header.message_id == "<01a2056a-7eeb-7568-a339-d25cf2b925f6@boutique.example>"


def test_bcc_and_our_own_fields_are_removed_whole():
    ours = b"X-Relay-Tag: one\r\nx-relay-METADATA-Order-Id: 7\r\n"
    head = b"BCC: a@b.example,\r\n c@d.example\r\nFrom: a@b.example\r\n" + ours + b"\r\n"
    header = parse(head)
    assert header.kept == [b"From: a@b.example\r\n"]
    assert (header.tag, header.metadata) == ("one", {"order-id": "7"})
    assert header.length == len(head) - 2


def test_the_subject_is_read_for_people():
    assert parse(b"From: a@b.example\r\nSubject: =?utf-8?b?w6k=?= =?utf-8?q?t=C3=A9?=\r\n\r\n").subject == "été"
    assert parse(b"From: a@b.example\r\nSubject: \xc3\xa9t\xc3\xa9\r\n\r\n").subject == "été"
    assert parse(b"From: a@b.example\r\nSubject: \xe9t\xe9\r\n\r\n").subject == "été"
    assert parse(b"From: a@b.example\r\nSubject: =?nonsense?q?x?=\r\n\r\n").subject == "=?nonsense?q?x?="
    assert parse(b"From: a@b.example\r\nSubject: =?iso-\x9a?q?x?=\r\n\r\n").subject == "=?iso-\x9a?q?x?="


def test_a_message_without_a_body_is_all_header():
    header = parse(b"From: a@b.example\r\nSubject: x\r\n")
    assert (header.subject, header.length) == ("x", 31)


@pytest.mark.parametrize(
    "body", [b"Hello\r\n", b"Dear John, look here: it works\r\n\r\nBye: now\r\n", b"\xe9t\xe9\r\n\r\n"]
)
def test_the_empty_line_before_the_body_is_put_in_where_it_is_missing(body):
    fields = b"From: a@b.example\r\nSubject: x\r\n folded\r\n \r\n"
    header = parse(fields + body)
    assert (b"".join(header.kept), header.length, header.repair) == (fields, len(fields), b"\r\n")
    assert parse(fields + b"\r\n" + body).repair == b"", "what is there is not put in again"
    assert parse(fields).repair == b"", "nor before a body that is not there"


@pytest.mark.parametrize(
    "line",
    [b"Bcc: x@y.example", b"Bcc : x@y.example", b"\xef\xbb\xbfBcc: x@y.example", b"B\xe9c:", b"http://a.example"],
)
@pytest.mark.parametrize("text", [b"", b"Hello\r\n", b"Hello\r\n folded: too\r\n"])
def test_it_is_not_put_in_before_what_may_be_a_field(text, line):
    head = b"From: a@b.example\r\n" + text + line + b"\r\n\r\nBody\r\n"
    if not text and line.startswith((b"Bcc:", b"http:")):
        assert parse(head).repair == b"", "it is a field"
        return
    with pytest.raises(Malformed, match="line 2 is not a header field"):
        parse(head)


def test_more_than_50_received_fields_are_a_loop():
    received = b"Received: by a.example\r\n"
    parse(received * 50 + b"From: a@b.example\r\n\r\n")
    with pytest.raises(Looping):
        parse(received * 51 + b"From: a@b.example\r\n\r\n")


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(data):
    try:
        header = parse(b"From: a@b.example\r\n" + data)
    except Malformed:
        return
    assert (
        b"".join(header.kept) in b"From: a@b.example\r\n" + data
        or header.metadata
        or header.tag
        or b"cc" in data.lower()
    )


@given(st.text(max_size=200))
def test_no_from_value_breaks_the_parser(value):
    line = b"From: " + value.encode(errors="replace").replace(b"\r", b"").replace(b"\n", b"") + b"\r\n\r\n"
    with suppress(Malformed):
        assert "@" in parse(line).sender
