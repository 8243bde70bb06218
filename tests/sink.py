"""A server for the benchmark that takes everything, DELAY seconds late. `python -m tests.sink PORT DELAY`"""

import asyncio
import sys

import uvloop

from relay.simulator.script import Fault
from relay.simulator.server import Simulator


class AnyDomain(Simulator):
    def _by_recipient(self, mailbox):
        return None


async def main(port, delay):
    fault = Fault(delay=delay) if delay else None
    await AnyDomain("dest.test", keep=0, behave=lambda stage, envelope: fault).start("127.0.0.1", port)
    await asyncio.Event().wait()


uvloop.run(main(int(sys.argv[1]), float(sys.argv[2])))
