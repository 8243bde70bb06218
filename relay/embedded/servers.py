"""PostgreSQL and Valkey for as long as somebody needs them: the demo's, a test session's."""

import hashlib
import os
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from relay.embedded.guardian import Guardian
from relay.embedded.postgres import Postgres, owner
from relay.embedded.programs import Program
from relay.embedded.valkey import Valkey

LONGEST_SOCKET_PATH = 100  # Bytes; the kernel's own limit is 107, on macOS 103.
START_SECONDS = 60.0  # Recovery after a crash counts in.
STOP_SECONDS = 10.0

type Server = Postgres | Valkey


@dataclass(frozen=True)
class Servers:
    database_url: str
    redis_url: str


@contextmanager
def servers(home: Path, durable: bool = True) -> Iterator[Servers]:
    """Both run, with their data under `home`, until the block ends or the process that entered it dies.

    Without `durable` nothing waits for the disk. Raises RuntimeError, with the end of its log, if one does not start.
    """
    with ExitStack() as stack:
        guardian = Guardian()
        stack.callback(guardian.close)
        sockets = stack.enter_context(socket_folder(home))
        postgres = Postgres(home.absolute() / "postgres", sockets, durable)
        valkey = Valkey(sockets, home.absolute() / "valkey.log")
        for server in (postgres, valkey):
            stack.enter_context(running(server, guardian, home.absolute()))
        yield Servers(postgres.url, valkey.url)


@contextmanager
def running(server: Server, guardian: Guardian, home: Path) -> Iterator[None]:
    program = server.program
    program.prepare()
    log = home / f"{program.name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            program.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    guardian.watch(process.pid, program.orphaned)
    try:
        await_ready(server, process, log)
        yield
    finally:
        stop(program, process)
        guardian.forget(process.pid)


def await_ready(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.ready(process.pid):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{server.program.name} did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)


def stop(program: Program, process: subprocess.Popen[bytes]) -> None:
    for farewell in (program.stop, program.insist):
        process.send_signal(farewell)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            return
    process.kill()
    process.wait()


@contextmanager
def socket_folder(home: Path) -> Iterator[Path]:
    """`run` in `home`, or a short folder when no client could name that one; gone at the end.

    The short one has the same name at every start, so that a killed run leaves at most one. Raises RuntimeError if
    somebody else owns it.
    """
    home.mkdir(parents=True, exist_ok=True)
    folder = home.absolute() / "run"
    # libpq takes a comma for the end of a host.
    if len(os.fsencode(folder / ".s.PGSQL.5432")) > LONGEST_SOCKET_PATH or "," in str(folder):
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"relay-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), owner()}:
        raise RuntimeError(f"{folder} is not a folder of ours")
    folder.chmod(0o700)
    try:
        yield folder
    finally:
        with suppress(OSError):
            for left in folder.iterdir():
                left.unlink()
            folder.rmdir()
