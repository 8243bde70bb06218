"""The key and return-path host with which a domain's mail leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from django.conf import settings
from psycopg import AsyncConnection

from domains.keys import at_rest, open_private_key

IDENTITIES = """
SELECT domain.id, domain.name, CASE WHEN domain.own_return_path THEN %s ELSE domain.bounce_label || '.' || domain.name
    END, key.slot, key.private_key
FROM domains_domain domain JOIN domains_dkimkey key ON key.domain_id = domain.id AND key.active
WHERE domain.id = ANY(%s)
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """`bounce_host` is our own zone's while the customer's bounce record is gone."""

    domain: str
    selector: str
    key: RSAPrivateKey
    bounce_host: str


async def identities(connection: AsyncConnection[Any], domain_ids: Sequence[int]) -> dict[int, Identity]:
    """The identity of each domain that still exists. Opening a key costs about a millisecond: keep the result."""
    cursor = await connection.execute(IDENTITIES, [f"bounce.{settings.ZONE}", list(domain_ids)])
    return {
        key: Identity(name, f"r{slot}", open_private_key(at_rest().decrypt(sealed.encode()).decode()), bounce_host)
        for key, name, bounce_host, slot, sealed in await cursor.fetchall()
    }
