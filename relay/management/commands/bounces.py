"""Runs the return-path server: takes bounces, complaints and other reports, and keeps them to be understood."""

import asyncio
import os
import signal
from typing import Any

import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand

from activity.pool import open_pool
from relay import open_files
from relay.bounces.server import Server


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks = ()

    def handle(self, *_args: Any, **_options: Any) -> None:
        # Mail on its way goes before what comes back.
        os.nice(settings.BACKGROUND_NICENESS)
        open_files.allow_many()
        uvloop.run(serve())


async def serve() -> None:
    """Until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    pool = await open_pool(8, "bounces")
    server = Server(pool)
    await server.start(settings.BIND, settings.BOUNCES_PORT)
    await ended.wait()
    await server.stop()
    await pool.close(timeout=3)
