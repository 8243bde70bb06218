"""Ends the programs of an owner that was killed: a tiny process that waits on a pipe only its owner can keep open.

Unlike PR_SET_PDEATHSIG it works on Linux and macOS, for root and for others, and takes grandchildren along. The module
is also the program it starts, run with `python -I -S` and therefore without this package.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

PATIENCE = 5.0  # Seconds for Postgres's fast shutdown before its group is killed.


class Guardian:
    """Holds one end of the pipe. Every watched pid leads a process group."""

    def __init__(self, keep_open: int | None = None) -> None:
        """`keep_open` is a file descriptor, such as a lock's, that the guardian holds until all it watched is gone."""
        self.watched: dict[int, signal.Signals] = {}
        self.keep_open = keep_open
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", __file__]
        inherited = [] if self.keep_open is None else [self.keep_open]
        return subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=inherited, start_new_session=True, bufsize=0)

    def watch(self, pid: int, farewell: signal.Signals) -> None:
        """When the owner dies, `pid` gets `farewell`, and what is then left of its group is killed."""
        self.watched[pid] = farewell
        self.tell(f"{pid} {farewell.value}\n")

    def forget(self, pid: int) -> None:
        if self.watched.pop(pid, None):
            self.tell(f"{pid} 0\n")

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line.encode())
        except BrokenPipeError:  # Somebody killed the guardian: a new one learns all there is.
            self.process.wait()
            self.process = self.start()
            for pid, farewell in self.watched.items():
                self.tell(f"{pid} {farewell.value}\n")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    watched: dict[int, int] = {}
    for line in sys.stdin.buffer:
        pid, farewell = map(int, line.split())
        watched.pop(pid, None)
        if farewell:
            watched[pid] = farewell
    end(watched)


def end(watched: dict[int, int]) -> None:
    """The last started goes first, so that Postgres outlives its clients."""
    for pid in reversed(watched):
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL) if watched[pid] == signal.SIGKILL else os.kill(pid, watched[pid])
    deadline = time.monotonic() + PATIENCE
    while any(map(alive, watched)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in watched:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies.
        return False
    return True


if __name__ == "__main__":
    main()
