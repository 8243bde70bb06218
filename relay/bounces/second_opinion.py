"""A second opinion from flufl.bounce, Mailman's collection of rules for bounces that are no DSN."""

import email
import logging

from flufl.bounce import all_failures

from activity.status import Status
from relay.bounces.dsn import ADDRESS, elided
from relay.bounces.judgement import judged
from relay.bounces.mime import Part
from relay.bounces.notice import notice_of
from relay.bounces.report import Kind, Report, Said

# Its patterns are quadratic in the length of a line.
MAX_LINE = 300
MAX_TEXT = 20_000

logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)


def report(root: Part) -> Report | None:
    text = root.body[:MAX_TEXT].decode("ascii", "replace")
    lines = [line[:MAX_LINE] for line in text.split("\n")]
    headers = [f"{name}: {value[:MAX_LINE]}" for name, value in root.fields[:50]]
    try:
        temporary, permanent = all_failures(email.message_from_string("\n".join([*headers, "", *lines])))
    except Exception:
        return None
    words = " ".join(notice_of(root).text.split())
    failed, late = ([one.decode("ascii", "replace") for one in sorted(some)[:100]] for some in (permanent, temporary))
    failed, late = list(filter(_whole, failed)), list(filter(_whole, late))
    if failed:
        verdict = judged(words)
        said = [Said(one, verdict.outcome, verdict.reason, verdict.enhanced, verdict.text, one) for one in failed]
        return Report(Kind.BOUNCE, tuple(said))
    if late:
        return Report(
            Kind.DELAYED, tuple(Said(one, Status.DEFERRED, diagnostic=words[:1000], final=one) for one in late)
        )
    return None


def _whole(address: str) -> bool:
    """It names words, files and programs too."""
    return ADDRESS.fullmatch(address) is not None and not elided(address)
