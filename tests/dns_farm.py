"""A name server for very many domains, in a process of its own: serves the records of a file, says its port, and stays.

python -m tests.dns_farm FILE: a JSON list of [name, type, value].
"""

import asyncio
import json
import sys
from pathlib import Path

import uvloop

from relay.simulator.dns import DnsServer
from relay.simulator.zone import Zone


async def serve(file):
    server = DnsServer(Zone(json.loads(Path(file).read_text()), ttl=300))
    await server.start()
    print(server.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
