"""DNS questions: answers are remembered for their TTL, and equal questions asked at once are one question."""

import asyncio
import time
from typing import Final

import dns.asyncresolver
import dns.message
import dns.name
import dns.resolver
from django.conf import settings

MOST_ANSWERS: Final = 50_000
# RFC 1034 3.6.2 leaves the length of a chain open; BIND, Postfix's resolver and dnspython follow 16 links at most.
MOST_LINKS: Final = 16
# Each question in flight is an open socket.
MOST_IN_FLIGHT: Final = 250
# That a name does not exist counts when two attempts have seen it, so the second must not read the first one's memory.
LONGEST_ABSENCE: Final = 60.0
# Nobody means a TTL of weeks for a mail server that has moved since.
LONGEST_ANSWER: Final = 86_400.0


class Answers(dns.resolver.LRUCache):
    """dnspython's cache holds answers, NXDOMAIN and NODATA (RFC 2308) for their TTLs; here these are bounded."""

    def put(self, key: dns.resolver.CacheKey, value: dns.resolver.Answer) -> None:
        longest = LONGEST_ANSWER if value.rrset is not None else LONGEST_ABSENCE
        value.expiration = min(value.expiration, time.time() + longest)
        super().put(key, value)


def make_resolver() -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=settings.DNS_SERVER is None)
    if settings.DNS_SERVER is not None:
        host, resolver.port = settings.DNS_SERVER
        resolver.nameservers = [host]
    resolver.cache = Answers(MOST_ANSWERS)
    resolver.timeout, resolver.lifetime = 3.0, 10.0
    # EDNS with room for the larger answers of big MX sets.
    resolver.use_edns(0, 0, 1232)
    return resolver


class Lookups:
    def __init__(self, resolver: dns.asyncresolver.Resolver) -> None:
        self.resolver = resolver
        self.flying: dict[tuple[dns.name.Name, str], asyncio.Task[dns.resolver.Answer]] = {}
        self.places = asyncio.Semaphore(MOST_IN_FLIGHT)

    async def ask(self, name: dns.name.Name, kind: str) -> dns.resolver.Answer:
        """The answer, with `rrset` None where the name has no such record; `name` is absolute.

        Raises dns.resolver.NXDOMAIN, any other DNSException, or OSError.
        """
        links = 0
        while True:
            answer = await self._once(name, kind)
            links += len(answer.chaining_result.cnames)
            if links >= MOST_LINKS:
                raise dns.message.ChainTooLong
            if answer.rrset is not None or answer.canonical_name == name:
                return answer
            # No answer at the end of a chain may also mean that the server followed it only so far (RFC 1034 4.3.1).
            name = answer.canonical_name

    async def _once(self, name: dns.name.Name, kind: str) -> dns.resolver.Answer:
        key = (name, kind)
        if (task := self.flying.get(key)) is None:
            task = self.flying[key] = asyncio.create_task(self._resolve(name, kind))
            task.add_done_callback(lambda done: self._landed(key, done))
        # Who waits may be cancelled; the others still want the answer.
        return await asyncio.shield(task)

    def _landed(self, key: tuple[dns.name.Name, str], task: asyncio.Task[dns.resolver.Answer]) -> None:
        del self.flying[key]
        if not task.cancelled():
            # Looked at, so that asyncio does not complain where nobody waits any more.
            task.exception()

    async def _resolve(self, name: dns.name.Name, kind: str) -> dns.resolver.Answer:
        async with self.places:
            return await self.resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
