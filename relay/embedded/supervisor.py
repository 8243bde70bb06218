"""Keeps programs running: restarts what dies, ends all of them together, and takes them along when it is killed."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Self

from relay.embedded.console import Console
from relay.embedded.guardian import Guardian
from relay.embedded.programs import Program

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
HEALTHY = 30.0  # Seconds of life after which the next death is again the first.


class Supervisor:
    """Programs that live and end together; each leads a session and process group of its own."""

    def __init__(self, console: Console, guardian: Guardian, environment: Mapping[str, str]) -> None:
        self.console = console
        self.guardian = guardian
        self.environment = environment
        self.stopping = asyncio.Event()
        self.running: dict[Program, asyncio.subprocess.Process] = {}
        self.tasks: set[asyncio.Task[str]] = set()

    def keep(self, *programs: Program) -> None:
        """Starts each and restarts it whenever it ends."""
        self.tasks |= {asyncio.create_task(self.again_and_again(program)) for program in programs}

    async def once(self, program: Program) -> str:
        """Runs it to its end and says what went wrong, "" if nothing did."""
        task = asyncio.create_task(self.run(program))
        self.tasks.add(task)
        return await task

    async def again_and_again(self, program: Program) -> str:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while not self.stopping.is_set():
            began = loop.time()
            how = await self.run(program)
            if loop.time() - began > HEALTHY:
                pause = FIRST_PAUSE
            if not self.stopping.is_set():
                self.console.note(f"{program.name} {how or 'ended'}; it starts again in {pause:g} s")
                await self.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        return ""

    async def sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    async def run(self, program: Program) -> str:
        if self.stopping.is_set():
            return "was not started"
        try:
            program.prepare()
            with closing(await Output.open()) as output:
                process = await self.start(program, output)
                return await self.attend(program, process, output)
        except (OSError, RuntimeError) as error:
            return f"did not start: {error}"

    async def start(self, program: Program, output: "Output") -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *program.command,
                stdin=subprocess.DEVNULL,
                stdout=output.writing,
                stderr=output.writing,
                env=self.environment,
                start_new_session=True,
            )
        finally:
            os.close(output.writing)

    async def attend(self, program: Program, process: asyncio.subprocess.Process, output: "Output") -> str:
        self.running[program] = process
        self.guardian.watch(process.pid, program.orphaned)
        if self.stopping.is_set():  # stop() came while it started and has not seen it.
            send(process.pid, program.stop)
        following = asyncio.create_task(self.console.follow(program.name if program.labelled else "", output.reader))
        status = await process.wait()
        send(process.pid, signal.SIGKILL)  # Whatever it left behind holds its ports, and its output open.
        self.guardian.forget(process.pid)
        del self.running[program]
        await asyncio.wait([following], timeout=1)
        following.cancel()
        return describe(status)

    async def ready(self, program: Program, is_ready: Callable[[int], bool]) -> None:
        """Returns when it is, however often it has to be started, or when all are to stop."""
        while not self.stopping.is_set():
            process = self.running.get(program)
            if process is not None and is_ready(process.pid):
                return
            await asyncio.sleep(0.02)

    async def stop(self, patience: float) -> None:
        """Asks every program to end, insists after `patience` seconds, and kills what is left a second later."""
        self.stopping.set()
        for wait, farewell in ((patience, "stop"), (1.0, "insist"), (1.0, "kill")):
            for program, process in tuple(self.running.items()):
                send(process.pid, getattr(program, farewell))
            if self.tasks:
                _, self.tasks = await asyncio.wait(self.tasks, timeout=wait)


@dataclass(frozen=True)
class Output:
    """The pipe of one program's output. Our own, because asyncio's keeps wait() waiting while a grandchild holds it."""

    reader: asyncio.StreamReader
    transport: asyncio.ReadTransport
    writing: int

    @classmethod
    async def open(cls) -> Self:
        reading, writing = os.pipe()
        reader = asyncio.StreamReader()
        pipe = os.fdopen(reading, "rb", buffering=0)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        return cls(reader, transport, writing)

    def close(self) -> None:
        self.transport.close()


def send(pid: int, farewell: signal.Signals) -> None:
    """SIGKILL goes to the whole group; any other signal to the program, which knows what to tell its own children."""
    with suppress(ProcessLookupError, PermissionError):
        (os.killpg if farewell == signal.SIGKILL else os.kill)(pid, farewell)


def describe(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}" if status else ""
