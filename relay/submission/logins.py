"""Protection against guessing: failures make the next answer slower, and then block for a while.

No answer tells whether a user name exists: an unknown name, a wrong secret and a revoked credential get the same words
after the same delay.
"""

from dataclasses import dataclass

from domains.logins import Result
from domains.models import hash_secret
from relay.limits import place_of
from relay.submission.directory import Directory
from relay.submission.failures import SharedFailures, key_of
from relay.submission.login_log import LoginLog

DELAYS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class Login:
    """As whom a session logged in, and with which secret's hash."""

    credential_id: int
    secret_sha256: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """`login` if it is right; `delay` in seconds before the answer is given."""

    login: Login | None = None
    delay: float = 0.0
    blocked: bool = False


class Logins:
    def __init__(self, directory: Directory, log: LoginLog, failures: SharedFailures, limit: int) -> None:
        self.directory = directory
        self.log = log
        self.failures = failures
        self.limit = limit

    async def attempt(self, peer: str, username: str, secret: str) -> Attempt:
        """Raises Unavailable when the database does not answer; that is no failure of the client."""
        keys = [key_of("address", place_of(peer)), key_of("username", username)]
        if await self.failures.count(keys) >= self.limit:
            return self.blocked(peer, username)
        credential_id, result = await self.directory.authenticate(username, secret)
        if credential_id is not None:
            self.log.add(username, peer, result)
            return Attempt(Login(credential_id, hash_secret(secret)))
        count = await self.failures.add(keys)
        # Of guesses that are made side by side, no more are answered than of those made one after the other.
        if count > self.limit:
            return self.blocked(peer, username)
        self.log.add(username, peer, result)
        return Attempt(delay=DELAYS[min(count - 1, len(DELAYS) - 1)])

    def blocked(self, peer: str, username: str) -> Attempt:
        self.log.add(username, peer, Result.BLOCKED)
        return Attempt(blocked=True)
