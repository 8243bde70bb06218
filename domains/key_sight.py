"""What DNS shows of a key: at every name server of our zone, and to a receiver who follows the customer's record."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from domains.answers import Kind
from domains.asking import Asker
from domains.finding import State
from domains.judging import has_key
from domains.look import Subject, look

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sight:
    """`shown`: whether it is our key, everywhere; None when that cannot be said, for somebody did not answer.

    `ttl`: for how many seconds what the name servers of our zone say now, or its absence, may be remembered.
    """

    shown: bool | None
    ttl: int = 0


async def look_for(keys: Sequence[tuple[Subject, int]]) -> list[Sight]:
    """Of each (domain, slot) the key that we hold. Asks anew; one after the other would take too long for many."""
    asker = Asker()
    looks = (_look_for(subject, slot, asker) for subject, slot in keys)
    return [_or_unknown(each) for each in await asyncio.gather(*looks, return_exceptions=True)]


def _or_unknown(seen: Sight | BaseException) -> Sight:
    """A bug about one of them is no reason that the others wait."""
    if isinstance(seen, Sight):
        return seen
    log.error("a key was not looked for", exc_info=seen)
    return Sight(None)


async def _look_for(subject: Subject, slot: int, asker: Asker) -> Sight:
    record = f"dkim{slot}"
    public = subject.keys[record]
    own = await asker.authoritative(subject.wanted[record].target, "TXT")
    if not own or any(answer.kind is Kind.ERROR for answer in own):
        return Sight(None)
    ttl = max(answer.ttl for answer in own)
    if not all(has_key(answer.values, public) for answer in own):
        return Sight(shown=False, ttl=ttl)
    picture = await look(subject, asker)
    if picture.records[record].state is State.ERROR:
        return Sight(None)
    return Sight(picture.keys.get(f"r{slot}") == public, ttl)
