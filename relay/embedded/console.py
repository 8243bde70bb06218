"""The one terminal: every program's lines behind its name, in a colour of its own."""

import asyncio
import os
import sys
from collections import defaultdict
from itertools import cycle

COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
WIDTH = 10
LONGEST_LINE = 65_536


class Console:
    def __init__(self) -> None:
        free = cycle(COLOURS)
        self.colours: defaultdict[str, str] = defaultdict(lambda: next(free))
        self.coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def line(self, name: str, text: str) -> None:
        """Without a name the text stands alone, ready to be copied."""
        if not name:
            self.write(f"{text}\n")
            return
        label = name.ljust(WIDTH)
        if self.coloured:
            label = f"\x1b[{self.colours[name]}m{label}\x1b[0m"
        self.write(f"{label} | {text}\n")

    def note(self, text: str) -> None:
        self.line("relay", text)

    def write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError:  # Nobody reads any more (`make run | head`): mail matters more than its log.
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115

    async def follow(self, name: str, output: asyncio.StreamReader) -> None:
        """Prints what a program says until it closes its output; a longer line is broken, never lost."""
        rest = b""
        while chunk := await output.read(LONGEST_LINE):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self.line(name, line.decode(errors="replace").rstrip("\r"))
        if rest:
            self.line(name, rest.decode(errors="replace"))
