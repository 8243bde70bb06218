"""The syntax of envelope addresses. No socket, no database."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.submission.addresses import InvalidAddress, check, parse_path


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Marie.Tremblay+news@Example.ORG", "Marie.Tremblay+news@example.org"),
        ('"marie tremblay"@example.org', '"marie tremblay"@example.org'),
        ("marie@intranet", "marie@intranet"),
        ("marie@xn--mnchen-3ya.example", "marie@xn--mnchen-3ya.example"),
        ("marie@MÜNCHEN.example", "marie@xn--mnchen-3ya.example"),
        ("marie@faß.example", "marie@xn--fa-hia.example"),
        ("δοκιμή@example.org", "δοκιμή@example.org"),
        ("x" * 64 + "@example.org", "x" * 64 + "@example.org"),
    ],
)
def test_an_address_is_kept_as_written_with_its_domain_in_ascii(given, kept):
    assert check(given, smtputf8=True) == kept


@pytest.mark.parametrize(
    "address",
    [
        "",
        "marie",
        "@example.org",
        "marie@",
        "marie@[192.0.2.1]",
        "marie@[IPv6:2001:db8::1]",
        "marie@example..org",
        "marie@-example.org",
        "marie@example.org.",
        "marie@exam_ple.org",
        "marie tremblay@example.org",
        "marie@example.org\n",
        '"marie\0"@example.org',
        "x" * 65 + "@example.org",
        "x@" + "long." * 50 + "example",
        "marie@" + "x" * 64 + ".org",
    ],
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InvalidAddress):
        check(address, smtputf8=True)


def test_without_smtputf8_an_address_is_ascii():
    with pytest.raises(InvalidAddress, match="SMTPUTF8"):
        check("marie@münchen.example", smtputf8=False)


@pytest.mark.parametrize(
    ("argument", "address", "parameters"),
    [
        ("<marie@example.org>", "marie@example.org", {}),
        (
            " <marie@example.org> SIZE=10 body=8BITMIME SMTPUTF8",
            "marie@example.org",
            {"SIZE": "10", "BODY": "8BITMIME", "SMTPUTF8": ""},
        ),
        ("<>", "", {}),
        ("<@a.example,@b.example:marie@example.org>", "marie@example.org", {}),
        ('<"a>b"@example.org>', '"a>b"@example.org', {}),
    ],
)
def test_a_path_is_taken_apart(argument, address, parameters):
    path = parse_path(argument)
    assert (path.address, path.parameters) == (address, parameters)


@pytest.mark.parametrize("argument", ["", "marie@example.org", "<marie@example.org", "marie <m@example.org>", "<a@b>x"])
def test_what_is_no_path_is_none(argument):
    assert parse_path(argument) is None


@given(st.text(max_size=300) | st.from_regex(r"[^@]{1,70}@[^@]{1,260}"))
def test_no_text_breaks_the_check(text):
    with suppress(InvalidAddress):
        kept = check(text, smtputf8=True)
        assert kept.rpartition("@")[0] == text.rpartition("@")[0]
        assert kept.isprintable()
    parse_path(text)
