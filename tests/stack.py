"""The whole product as `make run` starts it, in a folder and on ports of its own."""

import contextlib
import json
import os
import random
import resource
import signal
import smtplib
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg

ROOT = Path(__file__).resolve().parent.parent
# How each program of the Procfile is recognised by its command line.
PROGRAMS = {
    "submission": "manage.py submission",
    "bounces": "manage.py bounces",
    "simulator": "manage.py simulator",
    "deliverer": "-Q deliver",
    "worker": "-Q reports",
    "beat": "relay beat",
    "web": "gunicorn",
    "valkey": "valkey-server",
    "postgres": "postgres -D",
}


class Stack:
    def __init__(self, home, process, up):
        self.home = Path(home)
        self.process = process
        self.up = up

    def sql(self, query, *values):
        with psycopg.connect(self.up["database_url"], autocommit=True) as connection:
            return connection.execute(query, values).fetchall()

    def program(self, name):
        """The running program itself, not what guards it."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                command = " ".join(child.cmdline())
                if PROGRAMS[name] in command and "guardian" not in command and "setpriv" not in command:
                    return child
        return None

    def kill(self, name):
        """kill -9, as a machine short of memory would."""
        deadline = time.monotonic() + 10
        while (found := self.program(name)) is None:
            assert time.monotonic() < deadline, f"{name} does not run"
            time.sleep(0.05)
        found.send_signal(signal.SIGKILL)
        return found.pid

    def client(self, tls=False):
        """A plain connection for old software; it needs no AUTH."""
        submission = self.up["submission"]
        return smtplib.SMTP(submission["host"], submission["plain_port"], timeout=30)

    def statuses(self, since=None):
        rows = self.sql("SELECT status, count(*) FROM activity_recipient WHERE id > %s GROUP BY 1", since or "0" * 32)
        return dict(rows)

    def newest_id(self):
        ((newest,),) = self.sql("SELECT coalesce(max(id::text), repeat('0', 32)) FROM activity_recipient")
        return newest


def free_port_base():
    """Ten neighbouring ports that are free now, below those that the kernel hands to clients."""
    for base in random.sample(range(10_000, 32_000, 10), 100):
        if all(is_free(base + n) for n in range(10)):
            return base
    raise RuntimeError("no ten neighbouring ports are free")


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def environment(home, **settings):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RELAY_", "DATABASE_URL", "REDIS_URL"))
    }
    kept.pop("DJANGO_SETTINGS_MODULE", None)
    return {
        **kept,
        "RELAY_HOME": str(home),
        "RELAY_PORT_BASE": str(free_port_base()),
        "PYTHONUNBUFFERED": "1",
        **settings,
    }


def few_open_files():
    """As most systems start a program, whatever this one allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))


@contextlib.contextmanager
def running_stack(home, seconds=150, **settings):
    """Ends it with Ctrl-C; the log of everything is in home/log."""
    home = Path(home)
    home.mkdir(parents=True, exist_ok=True)
    with (home / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "relay.embedded"],
            cwd=ROOT,
            env=environment(home, **settings),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=few_open_files,
        )
    started = time.time()
    try:
        deadline = time.monotonic() + seconds
        # One that was killed has left its own.
        while not (home / "up.json").exists() or (home / "up.json").stat().st_mtime < started:
            assert process.poll() is None, (home / "log").read_text()[-4000:]
            assert time.monotonic() < deadline, (home / "log").read_text()[-4000:]
            time.sleep(0.1)
        yield Stack(home, process, json.loads((home / "up.json").read_text()))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
