"""The key and return-path host with which a domain's mail leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from django.conf import settings
from psycopg import AsyncConnection

from domains.keys import at_rest, open_private_key

IDENTITIES = """
SELECT domain.id, domain.name, key.slot, key.private_key,
    CASE WHEN domain.own_return_path THEN %s ELSE domain.bounce_label || '.' || domain.name END
FROM domains_domain domain JOIN domains_dkimkey key ON key.domain_id = domain.id AND key.active
WHERE domain.id = ANY(%s)
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """`bounce_host` is our own zone's while the customer's bounce record is gone; `sealed` is the key as it is kept."""

    domain: str
    selector: str
    sealed: str = field(repr=False)
    bounce_host: str
    key: RSAPrivateKey = field(repr=False, compare=False)


async def identities(
    connection: AsyncConnection[Any], domain_ids: Sequence[int], known: Mapping[int, Identity]
) -> dict[int, Identity]:
    """The identity of each domain that still exists; where nothing changed it is the object that is `known`."""
    cursor = await connection.execute(IDENTITIES, [f"bounce.{settings.ZONE}", list(domain_ids)])
    found = {}
    for domain_id, name, slot, sealed, bounce_host in await cursor.fetchall():
        before = known.get(domain_id)
        values = name, f"r{slot}", sealed, bounce_host
        if before is not None and values == (before.domain, before.selector, before.sealed, before.bounce_host):
            found[domain_id] = before
        else:
            found[domain_id] = Identity(*values, open_private_key(at_rest().decrypt(sealed.encode()).decode()))
    return found
