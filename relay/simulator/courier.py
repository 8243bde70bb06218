"""Carries the simulator's reports to the return path: finds its MX through DNS and speaks SMTP with the null sender."""

import asyncio
import logging
from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.resolver
from dns.rdtypes.ANY.MX import MX

logger = logging.getLogger(__name__)

WAITS = (0.5, 1, 2, 4, 8, 15, 30, 60)  # seconds between attempts
TIME_OUT = 10.0
MAX_REPLY_LINES = 100


class RefusedError(Exception):
    """The server's reply is not the one that was needed. Begins with its code."""


class Courier:
    """`name_server` is the (address, port) asked for MX records, `port` where return paths take mail."""

    def __init__(
        self, hostname: str, name_server: tuple[str, int], port: int, *, waits: Sequence[float] = WAITS
    ) -> None:
        self.hostname, self.port, self.waits = hostname, port, waits
        self.resolver = dns.asyncresolver.Resolver(configure=False)
        self.resolver.nameservers = [name_server[0]]
        self.resolver.port = name_server[1]
        self.resolver.lifetime = TIME_OUT
        self.few = asyncio.Semaphore(10)

    async def send(self, return_path: str, content: bytes) -> bool:
        """Try until it is taken; False when every attempt failed or the return path takes no mail."""
        for wait in (*self.waits, None):
            try:
                async with self.few, asyncio.timeout(TIME_OUT * 3):
                    await self._attempt(return_path, content)
                return True
            except (OSError, EOFError, RefusedError, ValueError, dns.exception.DNSException) as problem:
                final = wait is None or (isinstance(problem, RefusedError) and str(problem).startswith("5"))
                if final:
                    logger.warning("no report to <%s>: %s: %s", return_path, type(problem).__name__, problem)
                    return False
            await asyncio.sleep(wait or 0)
        return False

    async def _attempt(self, return_path: str, content: bytes) -> None:
        trouble: Exception = RefusedError("550 5.1.10 It takes no mail")
        for host in await self._hosts(return_path.rpartition("@")[2]):
            for address in await self.resolver.resolve(host, "A"):
                try:
                    await transmit(address.to_text(), self.port, self.hostname, return_path, content)
                    return
                except (OSError, EOFError) as problem:
                    trouble = problem
        raise trouble

    async def _hosts(self, domain: str) -> list[str]:
        """The mail hosts of a domain, best first; without MX records the domain itself (RFC 5321 5.1)."""
        answer = await self.resolver.resolve(domain, "MX", raise_on_no_answer=False)
        exchanges = [each for each in answer if isinstance(each, MX)]
        return [each.exchange.to_text() for each in sorted(exchanges, key=lambda each: each.preference)] or [domain]


async def transmit(host: str, port: int, hostname: str, recipient: str, content: bytes) -> None:
    """One SMTP transaction from the null sender. Raises OSError, EOFError or RefusedError."""
    reader, writer = await asyncio.open_connection(host, port)

    async def expect(command: bytes, code: str) -> str:
        writer.write(command)
        await writer.drain()
        return await read_reply(reader, code)

    try:
        await expect(b"", "220")
        offered = (await expect(f"EHLO {hostname}\r\n".encode(), "250")).upper()
        body = " BODY=8BITMIME" if "8BITMIME" in offered and not content.isascii() else ""
        utf8 = " SMTPUTF8" if not recipient.isascii() else ""
        await expect(f"MAIL FROM:<>{body}{utf8}\r\n".encode(), "250")
        await expect(f"RCPT TO:<{recipient}>\r\n".encode(), "250")
        await expect(b"DATA\r\n", "354")
        await expect(stuffed(content), "250")
        writer.write(b"QUIT\r\n")
    finally:
        writer.close()


async def read_reply(reader: asyncio.StreamReader, code: str) -> str:
    """A reply of any number of lines (RFC 5321 4.2.1) that must begin with `code`."""
    lines: list[str] = []
    while len(lines) < MAX_REPLY_LINES:
        line = await asyncio.wait_for(reader.readline(), TIME_OUT)
        if not line.endswith(b"\n"):
            raise EOFError("the connection was closed")
        lines.append(line.decode(errors="replace").rstrip())
        if lines[-1][3:4] != "-":
            break
    if not lines[-1].startswith(code):
        raise RefusedError(" ".join(lines)[:500])
    return "\n".join(lines)


def stuffed(content: bytes) -> bytes:
    """With a dot before each line that begins with one, and the final dot (RFC 5321 4.5.2)."""
    return (b"\r\n" + content.removesuffix(b"\r\n")).replace(b"\r\n.", b"\r\n..")[2:] + b"\r\n.\r\n"
