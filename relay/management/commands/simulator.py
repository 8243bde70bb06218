"""Runs the simulator: an SMTP server with DESIGN section 8's addresses and the DNS of the demo's small world."""

import asyncio
import signal
from typing import Any

import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand

from relay.simulator.courier import Courier
from relay.simulator.dns import DnsServer
from relay.simulator.server import Simulator
from relay.simulator.shelf import Shelf
from relay.simulator.world import World, database_records, local_address


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks = ()

    def handle(self, *_args: Any, **_options: Any) -> None:
        uvloop.run(serve())


async def serve() -> None:
    """Until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    domain = settings.SIMULATOR_DOMAIN
    name_server = settings.DNS_SERVER or (local_address()[1], settings.SIMULATOR_DNS_PORT)
    world = World(database_records)
    simulator = Simulator(
        domain,
        takes=world.sends_here,
        courier=Courier(f"mx.{domain}", name_server, settings.BOUNCES_PORT),
        shelf=Shelf(settings.HOME / "simulator", newest=settings.SIMULATOR_FILES) if settings.SIMULATOR_FILES else None,
    )
    names = DnsServer(world)
    await names.start(settings.BIND, settings.SIMULATOR_DNS_PORT)
    await simulator.start(settings.BIND, settings.SIMULATOR_PORT)
    await ended.wait()
    await asyncio.gather(simulator.stop(), names.stop())
