"""The DATA reader: finds the end of a message, mends its line ends, undoes dot-stuffing; big messages go to disk.

Only CRLF.CRLF ends DATA (RFC 5321 4.1.1.4). Bare LF line ends are common in customers' software and are made CRLF. What
an SMTP smuggler would send (a bare CR, NUL, a lone dot beside a bare LF) is read to the end and then refused.
"""

import logging
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path

from django.conf import settings

log = logging.getLogger(__name__)

IN_MEMORY = 262_144
MAX_LINE = settings.MAX_LINE_BYTES
BLOCK = MAX_LINE + 4  # so that a line of just the limit, with both its line ends, is not cut
END = b"\r\n.\r\n"
# A line of one dot that begins or ends with a bare LF.
LONE_DOT = re.compile(rb"(?<!\r)\n\.\r\n|\n\.\n")
BARE_LF = re.compile(rb"(?<!\r)\n")


class Problem(Enum):
    """Why the message that was read cannot be taken."""

    TOO_LARGE = "larger than may be sent"
    NO_ROOM = "no room for it at the moment"
    NO_DISK = "it cannot be written to the disk"
    BARE_CR = "a carriage return without a line feed"
    NUL = "a NUL character"
    LONE_DOT = "a lone dot beside a line feed without a carriage return"
    LONG_LINE = f"a line longer than {MAX_LINE} bytes"


class Content:
    """One message as it streams in. `reserve(n)` books n more bytes of the server's room, or says no."""

    def __init__(self, limit: int, folder: Path, reserve: Callable[[int], bool]) -> None:
        self.limit = limit
        self.reserve = reserve
        self.problem: Problem | None = None
        self.size = 0
        self.received = 0
        self.held = 0
        self.folder = str(folder)
        self.store = self._empty_store()
        # Always begins with the line end before the text still to be looked at; at first that is the DATA command's.
        self.pending = bytearray(b"\r\n")

    def feed(self, data: bytes) -> bytes | None:
        """None while the message goes on, else what came behind its end."""
        looked = max(0, len(self.pending) - len(END))
        self.pending += data
        self.received += len(data)
        end = self.pending.find(END, looked)
        if end >= 0:
            behind = bytes(self.pending[end + len(END) :])
            self._keep(bytes(self.pending[: end + 2]))
            self._try(self.store.flush)
            self.pending.clear()
            return behind
        if len(self.pending) > BLOCK:
            self._cut()
        return None

    def read(self, size: int) -> bytes:
        """The beginning."""
        self.store.seek(0)
        return self.store.read(size)

    def read_from(self, start: int) -> bytes:
        self.store.seek(start)
        return self.store.read()

    def close(self) -> None:
        with suppress(OSError):
            self.store.close()
        self.reserve(-self.held)
        self.held = 0

    def _cut(self) -> None:
        """Keep all whole lines; what remains begins with the last line end."""
        last = self.pending.rfind(b"\n")
        if last <= 1:
            self.problem = self.problem or Problem.LONG_LINE
            del self.pending[: -len(END)]
            return
        self._keep(bytes(self.pending[: last + 1]))
        start = last - 1 if self.pending[last - 1 : last] == b"\r" else last
        del self.pending[:start]

    def _keep(self, lines: bytes) -> None:
        """`lines` begins with the line end before them and ends with one of its own."""
        self.problem = self.problem or find_problem(lines)
        if self.problem is None:
            text = mend(lines)
            self.size += len(text)
            self.problem = self._room_for(text)
            if self.problem is None:
                self._write(text)
        if self.problem is not None:
            self._forget()

    def _write(self, text: bytes) -> None:
        self._try(lambda: self.store.write(text))

    def _try(self, step: Callable[[], object]) -> None:
        try:
            step()
        except OSError as error:
            log.error("a message cannot be written to %s: %s", self.folder, error)
            self.problem = Problem.NO_DISK
            self._forget()

    def _forget(self) -> None:
        """What was kept, on the disk too."""
        with suppress(OSError):  # what could not be written is tried once more
            self.store.close()
        self.store = self._empty_store()

    def _empty_store(self) -> "tempfile.SpooledTemporaryFile[bytes]":
        """Big ones are files without a name (O_TMPFILE), so that nothing is left behind whatever ends the program."""
        return tempfile.SpooledTemporaryFile(IN_MEMORY, dir=self.folder)

    def _room_for(self, text: bytes) -> Problem | None:
        if self.size > self.limit:
            return Problem.TOO_LARGE
        if not self.reserve(len(text)):
            return Problem.NO_ROOM
        self.held += len(text)
        return None


def find_problem(lines: bytes) -> Problem | None:
    feeds = lines.count(b"\r\n")
    if lines.count(b"\r") != feeds:
        return Problem.BARE_CR
    if b"\0" in lines:
        return Problem.NUL
    if lines.count(b"\n") != feeds and LONE_DOT.search(lines):
        return Problem.LONE_DOT
    return Problem.LONG_LINE if has_long_line(lines) else None


def has_long_line(lines: bytes) -> bool:
    start = 0
    while len(lines) - start > MAX_LINE + 2:
        last = lines.rfind(b"\n", start, start + MAX_LINE + 2)
        if last < 0:
            return True
        start = last + 1
    return False


def mend(lines: bytes) -> bytes:
    """CRLF everywhere, the dots that were added at line starts removed (RFC 5321 4.5.2), the first line end gone."""
    if lines.count(b"\n") != lines.count(b"\r\n"):
        lines = BARE_LF.sub(b"\r\n", lines)
    return lines.replace(b"\r\n.", b"\r\n")[2:]
