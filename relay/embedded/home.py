"""The folder with all state of one installation: who holds it, its secret, and the environment its programs get."""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from relay.environment import Environment

PROJECT = Path(__file__).resolve().parent.parent.parent
GUARDIAN_SECONDS = 10.0


def find_home() -> Path:
    """Made if missing; nobody else may look into it."""
    home = Environment().folder("RELAY_HOME", PROJECT / "var")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    return home


@contextmanager
def only_one(home: Path) -> Iterator[int]:
    """Holds the home's lock and gives its file descriptor. Raises RuntimeError while another relay runs here.

    The lock of one that was killed is held by its guardian until its programs are gone; that is worth waiting for.
    """
    with (home / "lock").open("a+") as file:
        deadline = time.monotonic() + GUARDIAN_SECONDS
        while not take(file.fileno()):
            file.seek(0)
            holder = file.read().strip()
            if time.monotonic() > deadline or exists(holder):
                raise RuntimeError(f"a relay already runs on {home} (pid {holder})")
            time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield file.fileno()
        finally:
            file.truncate(0)


def take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def exists(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def secret_key(home: Path) -> str:
    """Random, made at the first start."""
    file = home / "secret.key"
    if not file.exists():
        draft = file.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(64))
        draft.rename(file)
    return file.read_text().strip()


def environment_for(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """What the operator gave, and for the rest what makes a demo that reaches the simulator and nothing else."""
    set_by_operator = {name: value for name, value in given.items() if value}
    ours = {"RELAY_DEMO": "1", "RELAY_SECRET_KEY": secret_key(home)}
    wanted = ours | set_by_operator | {"RELAY_HOME": str(home)}
    env = Environment()
    if not env.flag("RELAY_DEMO", default=True):
        return wanted
    base = env.number("RELAY_PORT_BASE", 8000)
    demo = {
        "RELAY_PRIVATE_MX": "1",
        "RELAY_SMTP_PORT": str(env.number("RELAY_SIMULATOR_PORT", base + 6)),
        "RELAY_DNS": f"127.0.0.1:{env.number('RELAY_SIMULATOR_DNS_PORT', base + 5)}",
        "RELAY_RETRY": "3s,5s,10s,20s",
        "RELAY_GIVE_UP": "60s",
    }
    return demo | wanted
