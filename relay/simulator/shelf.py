"""Received messages as files, so that other programs can look at them: NUMBER.eml and then NUMBER.json."""

import json
import logging
import time
from collections import deque
from pathlib import Path

from relay.simulator.received import Received

logger = logging.getLogger(__name__)


class Shelf:
    """Keeps the newest `newest` messages, at most `keep_bytes` in all, as `FOLDER/NUMBER.eml` (the content) and
    `FOLDER/NUMBER.json` (the envelope), the envelope last: where it is, both are complete.

    Begins empty. Only the first `per_second` messages of a second are written: a load test costs no disk.
    """

    def __init__(
        self, folder: Path, *, newest: int = 200, keep_bytes: int = 64 * 1024 * 1024, per_second: int = 100
    ) -> None:
        self.folder = folder
        self.newest, self.keep_bytes, self.per_second = newest, keep_bytes, per_second
        self.kept: deque[tuple[int, int]] = deque()  # number and size
        self.bytes = 0
        self.second = self.written = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in [*folder.glob("*.json*"), *folder.glob("*.eml")]:
            old.unlink(missing_ok=True)

    def put(self, message: Received) -> None:
        second = int(time.monotonic())
        if second != self.second:
            self.second, self.written = second, 0
        if self.written >= self.per_second:
            return
        self.written += 1
        try:
            self._write(message)
            self._drop_old()
        except OSError as problem:  # a full disk must not stop the mail
            logger.warning("message %d is not written to %s: %s", message.number, self.folder, problem)

    def _write(self, message: Received) -> None:
        envelope = {
            "number": message.number,
            "time": message.time.isoformat(),
            "connection": message.connection,
            "peer": message.peer,
            "hello": message.hello,
            "tls": message.tls,
            "sender": message.sender,
            "recipients": message.recipients,
            "parameters": message.parameters,
            "bytes": len(message.content),
        }
        self.kept.append((message.number, len(message.content)))
        self.bytes += len(message.content)
        self._path(message.number, "eml").write_bytes(message.content)
        unfinished = self._path(message.number, "json.new")
        unfinished.write_text(json.dumps(envelope))
        unfinished.rename(self._path(message.number, "json"))

    def _drop_old(self) -> None:
        while len(self.kept) > self.newest or self.bytes > self.keep_bytes:
            number, size = self.kept.popleft()
            self.bytes -= size
            for suffix in ("json", "eml"):
                self._path(number, suffix).unlink(missing_ok=True)

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number}.{suffix}"
