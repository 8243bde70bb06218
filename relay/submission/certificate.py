"""The TLS certificate of both ports, read anew when its files change (ACME)."""

import asyncio
import logging
import ssl
from pathlib import Path

from django.core.management.base import CommandError

log = logging.getLogger(__name__)


class Certificate:
    """The TLS context of both ports; a renewed certificate (ACME) is used from the next connection on."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.files = (certificate, key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.stamp: tuple[int, ...] = ()
        try:
            self.reload()
        except (OSError, ssl.SSLError) as error:
            raise CommandError(
                f"The certificate {certificate} with the key {key} cannot be used: {error}. "
                "Set RELAY_TLS_CERTIFICATE and RELAY_TLS_KEY."
            ) from error

    def reload(self) -> None:
        stamp = tuple(path.stat().st_mtime_ns for path in self.files)
        if stamp != self.stamp:
            # Tried on another context first: one that does not fit its key would take the old one's key away.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self.files)
            self.context.load_cert_chain(*self.files)
            self.stamp = stamp

    async def keep_fresh(self, seconds: float = 10.0) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                self.reload()
            except (OSError, ssl.SSLError) as error:
                log.error("the certificate cannot be read, the old one stays in use: %s", error)
