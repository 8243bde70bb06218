"""Gathers attempts to log in, and uses of credentials: equal ones are one line, and nobody can make it grow fast."""

import time
from collections import Counter

from activity.accept import Unavailable
from activity.text import one_line
from domains import logins
from domains.logins import MAX_USERNAME, Login, Result
from relay.limits import Buckets
from relay.submission.directory import Directory

AT_ONCE = 200
A_SECOND = 0.1
MAX_WAITING = 1_000
MAX_GUESSES = 500  # of them, with user names that may not exist
MARK_AGAIN = 60.0  # seconds until the use of a credential is written again


class LoginLog:
    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.waiting: Counter[Login] = Counter()
        self.buckets = Buckets(AT_ONCE, A_SECOND)
        self.used: set[int] = set()
        self.marked: dict[int, float] = {}

    def add(self, username: str, address: str, result: Result) -> None:
        login = Login(one_line(username, MAX_USERNAME), address, result)
        limit = MAX_WAITING if bucket_of(login) else MAX_GUESSES
        if login in self.waiting or len(self.waiting) < limit:
            self.waiting[login] += 1

    def use(self, credential_id: int) -> None:
        """A credential is sent with, logged in or from its networks."""
        if time.monotonic() >= self.marked.get(credential_id, 0.0):
            self.marked[credential_id] = time.monotonic() + MARK_AGAIN
            self.used.add(credential_id)

    async def flush(self) -> None:
        """Write what may be written now; the rest goes on counting."""
        await self._mark_used()
        ready = {login: count for login, count in self.waiting.items() if self.buckets.take(bucket_of(login))}
        if not ready:
            return
        self.waiting.subtract(ready)
        self.waiting = +self.waiting
        try:
            await self.directory.ask(logins.record, ready)
        except Unavailable:
            self.waiting.update(ready)

    async def _mark_used(self) -> None:
        used, self.used = self.used, set()
        if not used:
            return
        try:
            await self.directory.ask(logins.mark_used, used)
        except Unavailable:
            self.used |= used


def bucket_of(login: Login) -> str:
    """User names that may not exist share one bucket: a guesser can make up any number of them."""
    return "" if login.result in (Result.UNKNOWN, Result.BLOCKED) else login.username
