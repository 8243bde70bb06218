"""The TLS certificate of the return-path server, read anew when its files change (ACME)."""

import logging
import ssl
from pathlib import Path

log = logging.getLogger(__name__)


class Certificate:
    """STARTTLS is offered when there is something to offer it with; a renewed one holds from the next connection on."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.files = (certificate, key)
        self.stamp: tuple[int, ...] = ()
        self.context: ssl.SSLContext | None = None

    def current(self) -> ssl.SSLContext | None:
        """The newest that could be read; None while there never was one."""
        try:
            stamp = tuple(path.stat().st_mtime_ns for path in self.files)
        except OSError:
            return self.context
        if stamp != self.stamp:
            self.stamp = stamp
            self._read()
        return self.context

    def _read(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(*self.files)
        except (OSError, ssl.SSLError) as error:
            log.error("the certificate %s cannot be used, the one before stays: %s", self.files[0], error)
        else:
            self.context = context
