"""`python -m relay.embedded`, which is what `make run` starts: the whole relay on one machine, until Ctrl-C."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from relay.embedded.console import Console
from relay.embedded.guardian import Guardian
from relay.embedded.home import PROJECT, environment_for, find_home, only_one
from relay.embedded.postgres import Postgres
from relay.embedded.programs import Program, read_procfile, with_our_python
from relay.embedded.servers import Server, socket_folder
from relay.embedded.supervisor import Supervisor
from relay.embedded.valkey import Valkey
from relay.environment import Environment

# Together below 8 s, the time after which an impatient operator kills.
PROGRAMS_PATIENCE, SERVER_PATIENCE = 5.5, 1.0


def main() -> int:
    """0 after a stop that was asked for, 1 when it could not start."""
    home = find_home()
    os.chdir(PROJECT)
    try:
        with ExitStack() as stack:
            lock = stack.enter_context(only_one(home))
            environment = environment_for(home, os.environ)
            up = home / "up.json"
            up.unlink(missing_ok=True)
            stack.callback(up.unlink, missing_ok=True)
            guardian = Guardian(keep_open=lock)
            stack.callback(guardian.close)
            servers = embedded_servers(home, stack.enter_context(socket_folder(home)), environment)
            return asyncio.run(Relay(guardian, servers, environment).live())
    except (RuntimeError, ValueError) as error:
        print(f"relay: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def embedded_servers(home: Path, sockets: Path, environment: dict[str, str]) -> list[Server]:
    """Those whose URL the environment does not give; it gets them."""
    servers: list[Server] = []
    if not environment.get("DATABASE_URL"):
        servers.append(Postgres(home / "postgres", sockets))
        environment["DATABASE_URL"] = servers[-1].url
    if not environment.get("REDIS_URL"):
        servers.append(Valkey(sockets, home / "valkey.log"))
        environment["REDIS_URL"] = servers[-1].url
    return servers


class Relay:
    """Servers first, then what the Procfile lists; the other way round at the end."""

    def __init__(self, guardian: Guardian, servers: list[Server], environment: Mapping[str, str]) -> None:
        self.console = Console()
        self.servers = servers
        self.demo = Environment().flag("RELAY_DEMO", default=True)
        ours = with_our_python(environment)
        self.layers = [Supervisor(self.console, guardian, ours) for _ in servers]
        self.programs = Supervisor(self.console, guardian, ours)

    async def live(self) -> int:
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        for farewell in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if farewell != signal.SIGHUP or signal.getsignal(farewell) != signal.SIG_IGN:  # nohup
                loop.add_signal_handler(farewell, told.set)
        starting = asyncio.create_task(self.start())
        waiting = asyncio.create_task(told.wait())
        try:
            await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            started = not starting.done() or starting.result()
            if started:
                await waiting
            return 0 if started else 1
        finally:
            self.console.note("stopping")
            await self.stop()

    async def start(self) -> bool:
        """False if there is nothing to keep running."""
        self.console.note("starting; Ctrl-C stops everything")
        for layer, server in zip(self.layers, self.servers, strict=True):
            layer.keep(server.program)
            await layer.ready(server.program, server.ready)
        trouble = await self.programs.once(Program("prepare", ("python", "-m", "relay.embedded.prepare")))
        if trouble or self.programs.stopping.is_set():
            return False
        listed = read_procfile(PROJECT / "Procfile")
        self.programs.keep(*(program for program in listed if self.demo or program.name != "simulator"))
        if self.demo:
            trouble = await self.programs.once(Program("demo", ("python", "manage.py", "demo"), labelled=False))
            if trouble and not self.programs.stopping.is_set():
                self.console.note(f"the demo's data could not be made: demo {trouble}")
        return True

    async def stop(self) -> None:
        await self.programs.stop(PROGRAMS_PATIENCE)
        for layer in reversed(self.layers):
            await layer.stop(SERVER_PATIENCE)


if __name__ == "__main__":
    sys.exit(main())
