"""Contents: the bytes of the messages in hand, read in batches, signed once a message, bounded in memory."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

from activity.claim import Claimed
from activity.contents import bodies
from activity.pool import Pool
from domains.signing import Identity, identities
from relay.delivery.sign import CannotSign, Unsigned, prepare

log = logging.getLogger(__name__)

CACHE_BYTES = 48_000_000
BATCH_BYTES = 8_000_000
# Contents that are read and signed ahead of the carriers: of one site, and of all. More would be forgotten unused.
AHEAD_BYTES = 4_000_000
MOST_AHEAD_BYTES = CACHE_BYTES // 2
# Batches that are being signed while the next one is read.
MOST_SIGNING = 2
# A key or a return path that is not seen in DNS any more is left behind so soon, by what is already signed too.
IDENTITY_SECONDS = 3.0
SIGNED_TOGETHER = 8

type Hashed = tuple[Claimed, bytes, Identity, Unsigned]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What goes over the wire after 354: dots stuffed (RFC 5321 4.5.2), ended by CRLF. `eightbit`: not all is ASCII."""

    wire: bytes
    eightbit: bool
    bounce_host: str


class Gone(Exception):
    """The message's bytes or its domain are not there any more: nothing can be sent."""


class Contents:
    """`get` for many messages at once becomes one query; signatures are made in two threads beside the loop."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.cache: OrderedDict[UUID, tuple[Identity, Prepared]] = OrderedDict()
        self.cached_bytes = 0
        self.waiting: dict[UUID, tuple[Claimed, asyncio.Future[Prepared]]] = {}
        # Those of `waiting` that are being read or signed.
        self.asked: set[UUID] = set()
        self.identities: dict[int, tuple[float, Identity]] = {}
        self.threads = ThreadPoolExecutor(2, "sign")
        self.wake = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        self.task = asyncio.create_task(self._run())

    async def get(self, job: Claimed) -> Prepared:
        """Raises Gone, CannotSign, or psycopg.Error when the database is away."""
        if (ready := self._ready(job)) is not None:
            self.cache.move_to_end(job.message_id)
            return ready
        self.prefetch((job,))
        return await asyncio.shield(self.waiting[job.message_id][1])

    def look_ahead(self, jobs: Iterator[Claimed], share: float = 1.0) -> None:
        """Keep the next contents of a site ready, asking for many at a time: `jobs` are those that come next.

        `share` is the site's part of all that goes on, so that the contents of many sites fit into memory together.
        """
        ahead: list[Claimed] = []
        room = min(AHEAD_BYTES, MOST_AHEAD_BYTES * share)
        for job in jobs:
            room -= job.size
            if room < 0:
                break
            ahead.append(job)
        if ahead and not self._knows(ahead[len(ahead) // 2]):
            self.prefetch(ahead)

    def _knows(self, job: Claimed) -> bool:
        return job.message_id in self.waiting or self._ready(job) is not None

    def _ready(self, job: Claimed) -> Prepared | None:
        """What was signed before, if it was signed as its domain still signs."""
        identity, prepared = self.cache.get(job.message_id, (None, None))
        learned_at, current = self.identities.get(job.domain_id or 0, (0.0, None))
        fresh = learned_at > time.monotonic() - IDENTITY_SECONDS
        return prepared if identity is current and fresh else None

    def prefetch(self, jobs: Iterable[Claimed]) -> None:
        """Begin to read and sign, so that `get` finds it ready."""
        for job in jobs:
            if not self._knows(job):
                self.waiting[job.message_id] = job, asyncio.get_running_loop().create_future()
                self.wake.set()

    def close(self) -> None:
        self.task.cancel()
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            while batch := self._next_batch():
                self.asked.update(job.message_id for job in batch)
                await self._read(batch)
                while len(self.tasks) >= MOST_SIGNING:
                    await asyncio.wait(self.tasks, return_when="FIRST_COMPLETED")

    def _next_batch(self) -> list[Claimed]:
        batch: list[Claimed] = []
        size = 0
        for key, (job, _) in self.waiting.items():
            if key in self.asked:
                continue
            size += job.size
            if batch and size > BATCH_BYTES:
                break
            batch.append(job)
        return batch

    async def _read(self, batch: Sequence[Claimed]) -> None:
        try:
            async with self.pool.connection() as connection:
                await self._learn_identities(connection, {job.domain_id for job in batch if job.domain_id is not None})
                batch = [job for job in batch if not self._still_right(job)]
                found = await bodies(connection, [job.message_id for job in batch]) if batch else {}
        except (psycopg.Error, OSError) as error:
            for job in batch:
                self._finish(job.message_id, error)
            return
        task = asyncio.create_task(self._sign([each for job in batch if (each := self._hashed(job, found))]))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _learn_identities(self, connection: AsyncConnection[Any], wanted: set[int]) -> None:
        now = time.monotonic()
        # Those that are about to become stale too, so that what comes next need not wait for another question.
        stale = [key for key in wanted if self.identities.get(key, (0.0, None))[0] < now - IDENTITY_SECONDS / 2]
        if stale:
            known = {key: self.identities[key][1] for key in stale if key in self.identities}
            found = await identities(connection, stale, known)
            for key in known.keys() - found.keys():
                del self.identities[key]
            self.identities.update({key: (now, identity) for key, identity in found.items()})

    def _still_right(self, job: Claimed) -> bool:
        """Settled without reading and signing again, where only its domain had to be asked for."""
        if (ready := self._ready(job)) is None:
            return False
        self._finish(job.message_id, ready)
        return True

    def _hashed(self, job: Claimed, found: dict[UUID, bytes]) -> Hashed | None:
        body = found.get(job.message_id)
        known = self.identities.get(job.domain_id or 0)
        if body is None or known is None:
            self._finish(job.message_id, Gone("the content has expired" if body is None else "the domain was removed"))
            return None
        try:
            return job, body, known[1], prepare(body, known[1])
        except CannotSign as error:
            self._finish(job.message_id, error)
            return None

    async def _sign(self, batch: list[Hashed]) -> None:
        """Few at a time: the first of a batch need not wait for the signatures of all."""
        loop = asyncio.get_running_loop()
        for start in range(0, len(batch), SIGNED_TOGETHER):
            part = batch[start : start + SIGNED_TOGETHER]
            lines = await loop.run_in_executor(self.threads, _signatures, part)
            for (job, body, identity, _), line in zip(part, lines, strict=True):
                prepared = Prepared(line + stuffed(body), not body.isascii(), identity.bounce_host)
                self._finish(job.message_id, prepared)
                self._keep(job.message_id, identity, prepared)

    def _finish(self, key: UUID, result: Prepared | Exception) -> None:
        _, future = self.waiting.pop(key)
        self.asked.discard(key)
        if isinstance(result, Exception):
            future.set_exception(result)
            future.exception()
        else:
            future.set_result(result)

    def _keep(self, key: UUID, identity: Identity, prepared: Prepared) -> None:
        if key in self.cache:
            self.cached_bytes -= len(self.cache.pop(key)[1].wire)
        self.cache[key] = identity, prepared
        self.cached_bytes += len(prepared.wire)
        while self.cached_bytes > CACHE_BYTES and len(self.cache) > 1:
            _, (_, oldest) = self.cache.popitem(last=False)
            self.cached_bytes -= len(oldest.wire)


def _signatures(batch: list[Hashed]) -> list[bytes]:
    return [unsigned.sign(identity) for _, _, identity, unsigned in batch]


def stuffed(body: bytes) -> bytes:
    """Dot-stuffed and ended by CRLF; the common body without such a line is not copied."""
    if b"\r\n." in body:
        body = body.replace(b"\r\n.", b"\r\n..")
    return body if body.endswith(b"\r\n") else body + b"\r\n"
