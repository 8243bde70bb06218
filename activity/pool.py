"""Asynchronous connections to the same database as Django's, for the programs that are one event loop."""

from typing import Any

from django.db import connections
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

type Pool = AsyncConnectionPool[AsyncConnection[Any]]

# The statements of these programs look up few rows by index in tables that may be empty today and huge tomorrow, so
# what the planner thinks of their sizes must not decide. Plans are made once per statement and connection: planning
# over many slices costs more than the statements themselves.
PLANNER = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"

# Values that django.db passes to psycopg and that are not part of a connection string.
NOT_CONNINFO = ("cursor_factory", "context", "prepare_threshold", "pool")


def conninfo() -> str:
    params = connections["default"].get_connection_params()
    return make_conninfo(**{key: value for key, value in params.items() if key not in NOT_CONNINFO})


async def open_pool(size: int, name: str) -> Pool:
    """A pool that is open at once and connects by itself as soon as the database answers."""
    pool: Pool = AsyncConnectionPool(
        conninfo(),
        min_size=1,
        max_size=size,
        name=name,
        timeout=10,
        open=False,
        kwargs={
            "autocommit": True,
            "prepare_threshold": 0,
            "options": PLANNER,
            "application_name": f"relay-{name}",
        },
        reconnect_timeout=5,
    )
    await pool.open()
    return pool
