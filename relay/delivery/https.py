"""One GET of a short text over verified HTTPS, from a host that a stranger names: bounded, and with no redirects."""

import asyncio
import http.client
import io
import socket
import ssl
from typing import Any, cast
from urllib.parse import urlsplit

import dns.asyncresolver
from django.conf import settings

from relay.delivery.reach import is_public

SECONDS = 10.0
MOST_BYTES = 65_536
MOST_HEADER_BYTES = 16_384


class Unusable(ValueError):
    """An answer that is not the text that was asked for."""


class Client:
    """`port` and `context` (which authorities are trusted) are for tests."""

    def __init__(
        self, resolver: dns.asyncresolver.Resolver, port: int = 443, context: ssl.SSLContext | None = None
    ) -> None:
        self.resolver = resolver
        self.port = port
        self.context = context or ssl.create_default_context()

    async def get_text(self, url: str) -> str:
        """The body of a 200 of type text/plain. Raises DNSException, OSError (TLS and time-outs too), ValueError."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        async with asyncio.timeout(SECONDS):
            answers = await self.resolver.resolve_name(host, lifetime=SECONDS)
            ip = next((ip for ip in answers.addresses() if settings.PRIVATE_MX or is_public(ip)), None)
            if ip is None:
                raise Unusable(f"{host} has no public address")
            reader, writer = await asyncio.open_connection(ip, self.port, ssl=self.context, server_hostname=host)
            try:
                writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii"))
                raw = await _all(reader)
            finally:
                writer.transport.abort()
        return _text(raw)


async def _all(reader: asyncio.StreamReader) -> bytes:
    raw = bytearray()
    while block := await reader.read(16_384):
        raw += block
        if len(raw) > MOST_BYTES + MOST_HEADER_BYTES:
            raise Unusable("the answer is too long")
    return bytes(raw)


class _Received:
    """What http.client takes for a socket: an answer that is all there."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self.raw)


def _text(raw: bytes) -> str:
    response = http.client.HTTPResponse(cast("socket.socket", _Received(raw)), method="GET")
    try:
        response.begin()
        body = response.read()
    except http.client.HTTPException as error:
        raise Unusable(f"not an HTTP answer: {error!r}"[:200]) from error
    # RFC 8461 3.3: redirects are not followed, and nothing but 200 will do.
    if response.status != 200:
        raise Unusable(f"HTTP status {response.status}")
    if "Content-Type" not in response.headers or response.headers.get_content_type() != "text/plain":
        raise Unusable("not of type text/plain")
    if len(body) > MOST_BYTES:
        raise Unusable("the text is too long")
    return body.decode()
