"""A server for the benchmark that takes everything: the simulator without its memory. `python -m tests.sink PORT`"""

import asyncio
import sys

import uvloop

from relay.simulator.server import Simulator


async def main(port):
    await Simulator("dest.test", keep=0).start("127.0.0.1", port)
    await asyncio.Event().wait()


uvloop.run(main(int(sys.argv[1])))
