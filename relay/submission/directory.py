"""What the database says about senders, asked in threads and remembered for moments.

Everything here raises Unavailable when the database does not answer. Memory is short, and whatever changes a
credential, a domain, an account or a suppression also sends NOTIFY (migration billing/0002): then it is forgotten.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

import psycopg
from django.db import Error, close_old_connections

from activity import suppressed
from activity.accept import Unavailable
from activity.addresses import normalised
from activity.models import Suppression
from activity.pool import Pool
from domains import senders
from domains.models import LoginEvent
from domains.senders import Sender

log = logging.getLogger(__name__)

THREADS = 4
PATIENCE = 5.0  # seconds for one question
CHANNEL = "relay_senders"
# How long an answer is used: while NOTIFY is listened to, and while it is not.
REMEMBER_LISTENING = 5.0
REMEMBER_DEAF = 1.0
MAX_REMEMBERED = 20_000

parsed = lru_cache(1_000)(ip_address)


class Directory:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.threads = ThreadPoolExecutor(THREADS, "directory")
        self.answers: dict[Hashable, tuple[float, asyncio.Future[Any]]] = {}
        self.listening = False

    async def authenticate(self, username: str, secret: str) -> tuple[int | None, LoginEvent.Result]:
        return await self.ask(senders.authenticate, username, secret)

    async def sender(self, credential_id: int) -> Sender | None:
        return await self._remembered(senders.sender_of, credential_id)

    async def credential_at(self, address: str) -> int | None:
        """The credential that may be used from this client address without AUTH."""
        networks = await self._remembered(senders.networks)
        peer = parsed(address)
        return next((key for network, key in networks if peer in network), None)

    async def suppression(self, account_id: int, address: str) -> Suppression | None:
        known = await self._remembered(suppressed.suppressed_addresses, account_id)
        if known is not None and normalised(address) not in known:
            return None
        return await self.ask(suppressed.suppression_of, account_id, address)

    async def ask[**P, T](self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one question in a thread."""

        def run() -> T:
            close_old_connections()
            try:
                return question(*args, **kwargs)
            finally:
                close_old_connections()

        try:
            async with asyncio.timeout(PATIENCE):
                return await self.loop.run_in_executor(self.threads, run)
        except (Error, psycopg.Error, TimeoutError) as error:
            raise Unavailable(str(error)) from error

    async def _remembered[T](self, question: Callable[..., T], *args: Hashable) -> T:
        key = (question, args)
        until, answer = self.answers.get(key, (0.0, None))
        now = self.loop.time()
        if answer is not None and answer.done() and until >= now and answer.exception() is None:
            known: T = answer.result()
            return known
        if answer is None or answer.done():
            answer = asyncio.ensure_future(self.ask(question, *args))
            if len(self.answers) >= MAX_REMEMBERED:
                self.answers.clear()
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
            remember = REMEMBER_LISTENING if self.listening else REMEMBER_DEAF
            self.answers[key] = (now + remember, answer)
            self.loop.call_later(remember, self._expire, key, answer)
        # Shielded: a client that goes away must not take the answer from the others who wait for it.
        result: T = await asyncio.shield(answer)
        return result

    def _expire(self, key: Hashable, answer: asyncio.Future[Any]) -> None:
        """Give its memory back: an account's suppression list is big."""
        if self.answers.get(key, (0.0, None))[1] is answer:
            del self.answers[key]

    async def listen(self, pool: Pool) -> None:
        """Forever: forget everything when something changed. NOTIFY arrives after the change is committed."""
        while True:
            try:
                async with pool.connection() as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self.answers.clear()
                    self.listening = True
                    async for notice in connection.notifies():
                        self.forget(notice.payload)
            except (psycopg.Error, OSError) as error:
                log.warning("not listening for changes of senders: %s", error)
            finally:
                self.listening = False
                self.answers.clear()
            await asyncio.sleep(1)

    def forget(self, changed: str) -> None:
        """`suppressions 7` says that account 7's list changed; anything else may change every answer."""
        kind, _, account = changed.partition(" ")
        if kind == "suppressions":
            self.answers.pop((suppressed.suppressed_addresses, (int(account),)), None)
        else:
            self.answers.clear()

    def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
