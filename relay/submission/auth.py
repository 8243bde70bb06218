"""AUTH PLAIN and LOGIN (RFC 4954, RFC 4616): reading the credentials off the wire, and what is answered to them."""

import asyncio
import binascii
from base64 import b64decode

from activity.accept import Unavailable
from relay.submission.conversation import Conversation
from relay.submission.server import Kind
from relay.submission.wire import LineTooLong

# Base 64 of "Username:" and "Password:", the prompts clients expect of LOGIN.
ASK_USERNAME, ASK_PASSWORD = "VXNlcm5hbWU6", "UGFzc3dvcmQ6"


class Unreadable(Exception):
    """What the client sent is not what the mechanism wants, or `*`, with which it cancels."""


async def auth(session: Conversation, argument: str) -> None:
    mechanism, _, initial = argument.partition(" ")
    read = MECHANISMS.get(mechanism.upper())
    if session.kind is Kind.PLAIN or not session.extended:
        session.fail("503 5.5.1 AUTH is not possible here; say EHLO first")
    elif not session.wire.secure:
        session.fail("538 5.7.11 Encryption is needed before AUTH: use STARTTLS")
    elif session.login is not None or session.transaction is not None:
        session.fail("503 5.5.1 Already authenticated, or a transaction is under way")
    elif read is None:
        session.fail("504 5.5.4 Unknown mechanism: use PLAIN or LOGIN")
    else:
        try:
            username, secret = await read(session, initial.strip())
        except Unreadable:
            session.fail("501 5.5.2 Not what this mechanism wants, or cancelled")
        else:
            await log_in(session, username, secret)


async def read_plain(session: Conversation, initial: str) -> tuple[str, str]:
    """RFC 4616 2: [authzid] NUL authcid NUL passwd. We have no identities to act for."""
    parts = decoded(initial or await challenge(session, "")).split("\0")
    if len(parts) != 3:
        raise Unreadable
    return parts[1], parts[2]


async def read_login(session: Conversation, initial: str) -> tuple[str, str]:
    username = decoded(initial or await challenge(session, ASK_USERNAME))
    return username, decoded(await challenge(session, ASK_PASSWORD))


MECHANISMS = {"PLAIN": read_plain, "LOGIN": read_login}


def decoded(text: str) -> str:
    # RFC 4954 4: an empty initial response is sent as "=".
    try:
        return "" if text == "=" else b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Unreadable from None


async def challenge(session: Conversation, text: str) -> str:
    session.wire.say(f"334 {text}")
    try:
        return (await session.wire.line(session.server.patience(known=False))).decode("ascii").strip()
    except (UnicodeDecodeError, LineTooLong):
        raise Unreadable from None


async def log_in(session: Conversation, username: str, secret: str) -> None:
    try:
        attempt = await session.server.logins.attempt(session.wire.peer, username, secret)
    except Unavailable:
        session.wire.say("454 4.7.0 Logging in is not possible at the moment, try again later")
        return
    if attempt.blocked:
        session.close("421 4.7.0 Too many failed log-ins, try again later")
        return
    await asyncio.sleep(attempt.delay)
    if attempt.login is None:
        session.fail("535 5.7.8 User name or password is wrong")
    elif not session.server.admit_credential(attempt.login.credential_id):
        session.close("421 4.7.0 Too many connections with this credential")
    else:
        session.login = attempt.login
        session.server.login_log.use(attempt.login.credential_id)
        session.wire.say("235 2.7.0 Welcome")
