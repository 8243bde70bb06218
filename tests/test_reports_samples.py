"""Reports as hundreds of programs write them, in many languages, encodings and for many addresses.

The folder of a sample says what is expected of it: tests/reports/hard holds bounces of kit@dest.test that are hard, and
so on; those of two folders name three recipients. Where a sample returns the message that was sent, `{returned}` stands
for it.
"""

import base64
import html
import quopri
from pathlib import Path

import pytest

from activity.status import Status
from relay.bounces.understanding import understand

KIT = "kit@dest.test"
RETURNED = """\
Received: from shop.test by mx.test; Thu, 29 Apr 2010 23:34:45 +0900
From: sender@shop.test
To: {to}
Subject: Hello
Message-ID: <1@shop.test>

Hello
"""
EXPECTED = {
    "hard": ("bounce", Status.HARD_BOUNCE),
    "soft": ("bounce", Status.SOFT_BOUNCE),
    "delayed": ("delayed", Status.DEFERRED),
    "relayed": ("relayed", Status.DELIVERED),
    "complaint": ("complaint", Status.DELIVERED),
    "auto_reply": ("auto_reply", None),
    "other": ("other", None),
}
THREE = ("kit@dest.test", "ann@dest.test", "bob@other.test")
OF_THREE = {
    "all_hard": (Status.HARD_BOUNCE,) * 3,
    "two_hard_one_soft": (Status.HARD_BOUNCE, Status.HARD_BOUNCE, Status.SOFT_BOUNCE),
}


def read_samples(folders):
    paths = [path for folder in folders for path in sorted((Path(__file__).parent / "reports" / folder).glob("*.eml"))]
    return {f"{path.parent.name}/{path.stem}": path.read_text() for path in paths}


SAMPLES = read_samples(EXPECTED)
WITH_THREE = read_samples(OF_THREE)
# A bounce of postmaster@ in words is told from the postmaster's own letters by the message that came back.
WITH_MESSAGE = [name for name, text in SAMPLES.items() if "{returned}" in text]
ADDRESSES = (
    "first.last+tag_9@sub-domain.dest.co.test",
    "o'brien@dest.test",
    "K.Cat-99@DEST.test",
    "12345@qq.test",
    "kit=shop@xn--bcher-kva.test",
    "user#1@b.test",
)
OFFICES = ("postmaster@dest.test", "abuse@dest.test", "support@dest.test", "noreply@dest.test")


def folded(address):
    return address.replace('"', "").casefold()


def expected(name, address=KIT):
    kind, outcome = EXPECTED[name.partition("/")[0]]
    return kind, [] if outcome is None else [(folded(address), outcome)]


def concluded(raw):
    report = understand(raw)
    return str(report.kind), [(folded(said.address), said.outcome) for said in report.recipients]


def misunderstood(write, names, address=KIT):
    """{sample: what is concluded} of those that are not understood, each written by `write`."""
    found = {name: concluded(write(SAMPLES[name].replace("{returned}", RETURNED.format(to=address)))) for name in names}
    return {name: what for name, what in found.items() if what != expected(name, address)}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_report_is_understood(name):
    """Here what came back was for somebody else: the notice alone tells whom it is about."""
    returned = RETURNED.format(to="someone-else@dest.test")
    assert concluded(SAMPLES[name].replace("{returned}", returned).encode()) == expected(name)


@pytest.mark.parametrize("to", ["someone-else@dest.test", "kit@dest.test", ", ".join(THREE), "list@lists.test"])
@pytest.mark.parametrize("name", WITH_THREE)
def test_each_of_several_recipients_is_named_and_judged_by_its_own_words(name, to):
    kind, found = concluded(WITH_THREE[name].replace("{returned}", RETURNED.format(to=to)).encode())
    assert (kind, dict(found)) == ("bounce", dict(zip(THREE, OF_THREE[name.partition("/")[0]], strict=True)))


# The same, written otherwise.


def encoded(charset, encode=base64.encodebytes, encoding="base64"):
    return lambda text: _rewritten(
        text, f"text/plain; charset={charset}", encode(_body(text).encode(charset)), encoding
    )


def as_html(text):
    lines = html.escape(_body(text)).replace("\n", "<br>\n")
    page = f"<html><head><style>p {{ color: red }}</style></head><body>{lines}</body></html>"
    return _rewritten(text, "text/html; charset=utf-8", page.encode())


def in_two_alternatives(text):
    words = _body(text)
    parts = (
        f"--alt\nContent-Type: text/plain; charset=utf-8\n\n{words}\n--alt\nContent-Type: text/html\n\n<p>{words}</p>"
    )
    return _rewritten(text, "multipart/alternative; boundary=alt", f"{parts}\n--alt--\n".encode())


def _body(text):
    return text.partition("\n\n")[2]


def _rewritten(text, kind, body, encoding="8bit"):
    kept = [line for line in text.partition("\n\n")[0].split("\n") if not line.lower().startswith("content-")]
    return "\n".join([*kept, f"Content-Type: {kind}", f"Content-Transfer-Encoding: {encoding}", "", ""]).encode() + body


WRITTEN = {
    "base64": encoded("utf-8"),
    "quoted-printable": encoded("utf-8", quopri.encodestring, "quoted-printable"),
    "utf-16": encoded("utf-16"),
    "gb18030": encoded("gb18030"),
    "html": as_html,
    "alternatives": in_two_alternatives,
}
IN_ONE_PART = [name for name, text in SAMPLES.items() if "boundary=" not in text and "text/html" not in text]


@pytest.mark.parametrize("way", WRITTEN)
def test_however_its_words_are_encoded(way):
    assert len(IN_ONE_PART) > 100
    assert misunderstood(WRITTEN[way], IN_ONE_PART) == {}


def test_with_line_ends_of_the_internet():
    assert misunderstood(lambda text: text.replace("\n", "\r\n").encode(), SAMPLES) == {}


@pytest.mark.parametrize("charset", ["iso-2022-jp", "shift_jis", "euc-jp"])
def test_in_the_charsets_of_japan(charset):
    assert misunderstood(encoded(charset), ["hard/office365-japanese", "hard/ezweb"]) == {}


# The same, about others.

NAMES_KIT_OTHERWISE = {"hard/internationalised", "hard/x-unix-types", "complaint/no-plain-text-base64-fields"}


def about(address):
    return lambda text: text.replace(KIT, address).encode()


@pytest.mark.parametrize("address", ADDRESSES)
def test_whatever_the_address_looks_like(address):
    names = [name for name in SAMPLES if name not in NAMES_KIT_OTHERWISE]
    assert misunderstood(about(address), names, address) == {}


@pytest.mark.parametrize("address", OFFICES)
def test_an_office_can_fail_too(address):
    names = [name for name in WITH_MESSAGE if name.startswith("hard/") and name not in NAMES_KIT_OTHERWISE]
    assert misunderstood(about(address), names, address) == {}
