"""Names of sending domains, as people type and paste them."""

import pytest
from django.core.exceptions import ValidationError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domains.names import LONGEST, in_unicode, is_public_suffix, normalised, organisational


@pytest.mark.parametrize(
    "typed",
    [
        "example.com",
        "EXAMPLE.com",
        "  example.com \n",
        "example.com.",
        "@example.com",
        "hello@example.com",
        "Marie <marie@example.com>",
        "mailto:marie@example.com",
        "http://example.com",
        "https://example.com/shop?x=1#top",
        "https://example.com/@marie",
        "https://example.com?to=marie@example.org",
        "mailto:marie@example.com?subject=Hello",
        "Sales/EU <marie@example.com>",
        "https://user:secret@example.com:8443/",
        "example.com:25",
        "example.com/",
        '"example.com"',
        "example。com",
        "ｅｘａｍｐｌｅ.com",
    ],
)
def test_whatever_comes_along_with_a_pasted_domain_is_left_out(typed):
    assert normalised(typed) == "example.com"


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Bücher.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("BÜCHER.EXAMPLE.", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("https://例え.テスト/", "xn--r8jz45g.xn--zckzah"),
        ("straße.example", "xn--strae-oqa.example"),
        ("president@الجزائر.example", "xn--lgbbat1ad8j.example"),
    ],
)
def test_an_internationalised_domain_is_kept_as_its_a_labels(typed, name):
    assert normalised(typed) == name


def test_a_subdomain_and_a_domain_below_a_public_suffix_are_domains():
    for name in ("mail.example.com", "example.co.uk", "shop.github.io", "a.b.c.example.com", "1.example.com"):
        assert normalised(name) == name


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("", "empty"),
        ("   ", "empty"),
        (".", "empty"),
        ("https://", "empty"),
        ("@", "empty"),
        ("192.0.2.7", "address"),
        ("http://192.0.2.7/", "address"),
        ("marie@192.0.2.7", "address"),
        ("[192.0.2.7]", "address"),
        ("2001:db8::7", "address"),
        ("[2001:db8::7]", "address"),
        ("http://[2001:db8::7]:80/", "address"),
        ("marie@[IPv6:2001:db8::7]", "address"),
        ("example", "single_label"),
        ("localhost", "single_label"),
        ("co.uk", "public_suffix"),
        ("com.", "single_label"),
        ("github.io", "public_suffix"),
        ("foo.ck", "public_suffix"),
        ("公司.cn", "public_suffix"),
        ("exa mple.com", "syntax"),
        ("exa_mple.com", "syntax"),
        ("-example.com", "syntax"),
        ("example-.com", "syntax"),
        ("example..com", "syntax"),
        (".example.com", "syntax"),
        ("xn--.com", "syntax"),
        ("exam\x00ple.com", "syntax"),
        ("exam\u202eple.com", "syntax"),
        ("*.example.com", "syntax"),
        ("a" * 64 + ".com", "syntax"),
        (".".join(["a" * 60] * 4) + ".com", "long"),
        ("256.256.256.256", "address"),
        ("1.2.3", "address"),
    ],
)
def test_what_is_no_domain_is_refused_with_its_reason(typed, code):
    with pytest.raises(ValidationError) as refused:
        normalised(typed)
    assert refused.value.code == code
    assert refused.value.messages[0].endswith(".")


def test_a_domain_leaves_room_for_our_labels():
    longest = ".".join(["a" * 49] * 3) + "." + "a" * (LONGEST - 154) + ".com"
    assert len(longest) == LONGEST
    assert normalised(longest) == longest
    assert len(f"r1._domainkey.{longest}.") < 253


@settings(deadline=None)
@given(st.text(max_size=300))
@example("xn--.com")
@example("\ud800.com")
@example("http://[")
@example("a@" * 200)
@example("1" * 300 + ".com")
def test_whatever_is_typed_is_a_domain_or_a_refusal_in_words(typed):
    check(typed)


PARTS = st.sampled_from(
    [
        "example",
        "com",
        "co.uk",
        ".",
        "@",
        "://",
        "/",
        ":",
        "[",
        "]",
        "xn--",
        "bücher",
        "。",
        "-",
        "_",
        "*",
        " ",
        "<",
        ">",
        "1",
    ]
)


@settings(deadline=None)
@given(st.lists(PARTS, max_size=12).map("".join))
def test_pieces_of_names_and_urls_are_a_domain_or_a_refusal_in_words(typed):
    check(typed)


def outcome(typed):
    """(the name, the words of its refusal)"""
    try:
        return normalised(typed), []
    except ValidationError as refused:
        return "", refused.messages


def check(typed):
    name, words = outcome(typed)
    if not name:
        assert words
        assert all(words)
        return
    assert name == normalised(name), "what is kept is kept for good"
    assert name.isascii()
    assert name == name.lower()
    assert len(name) <= LONGEST
    assert "." in name
    assert not is_public_suffix(name)
    assert normalised(in_unicode(name)) == name
    assert name.endswith(organisational(name))


def test_the_registered_domain_above_a_name():
    assert organisational("a.b.example.co.uk") == "example.co.uk"
    assert organisational("example.com") == "example.com"
    assert organisational("bounce.shop.github.io") == "shop.github.io"


def test_a_name_is_shown_as_people_read_it():
    assert in_unicode("xn--bcher-kva.example") == "bücher.example"
    assert in_unicode("example.com") == "example.com"
    assert in_unicode("xn--.com") == "xn--.com"
