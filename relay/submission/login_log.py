"""Gathers attempts to log in for the log: equal ones are one line, and nobody can make it grow fast."""

from collections import Counter

from activity.accept import Unavailable
from activity.text import one_line
from domains import logins
from domains.logins import MAX_USERNAME, Login, Result
from relay.submission.directory import Directory
from relay.submission.limits import Buckets

AT_ONCE = 200
A_SECOND = 0.1
MAX_WAITING = 1_000
MAX_GUESSES = 500  # of them, with user names that may not exist


class LoginLog:
    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.waiting: Counter[Login] = Counter()
        self.buckets = Buckets(AT_ONCE, A_SECOND)

    def add(self, username: str, address: str, result: Result) -> None:
        login = Login(one_line(username, MAX_USERNAME), address, result)
        limit = MAX_WAITING if bucket_of(login) else MAX_GUESSES
        if login in self.waiting or len(self.waiting) < limit:
            self.waiting[login] += 1

    async def flush(self) -> None:
        """Write what may be written now; the rest goes on counting."""
        ready = {login: count for login, count in self.waiting.items() if self.buckets.take(bucket_of(login))}
        if not ready:
            return
        self.waiting.subtract(ready)
        self.waiting = +self.waiting
        try:
            await self.directory.ask(logins.record, ready)
        except Unavailable:
            self.waiting.update(ready)


def bucket_of(login: Login) -> str:
    """User names that may not exist share one bucket: a guesser can make up any number of them."""
    return "" if login.result in (Result.UNKNOWN, Result.BLOCKED) else login.username
