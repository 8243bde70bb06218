"""A site: the one name for all destinations that are served by the same mail servers."""

import hashlib
from collections.abc import Sequence
from itertools import takewhile

# Providers that name their servers differently from customer to customer or put one pool under many names. The end of
# the host name → the site. Source: the provider blocks of KumoMTA's assets/policy-extras/shaping.toml, which also
# says that Gmail's and Google Workspace's names lead to the same addresses, and that Microsoft serves consumers,
# tenants and tenants with DNSSEC from three separate pools. Filters with one cluster a customer (Proofpoint,
# Mimecast) are left out: what one cluster says does not hold for another.
PROVIDERS = {
    "google.com": "google",
    "googlemail.com": "google",
    "yahoodns.net": "yahoo",
    "olc.protection.outlook.com": "outlook",
    "mail.protection.outlook.com": "microsoft365",
    "mx.microsoft": "microsoft365-dnssec",
    "icloud.com": "apple",
}


def provider_of(host: str) -> str | None:
    labels = host.split(".")
    suffixes = (".".join(labels[start:]) for start in range(1, len(labels)))
    return next((PROVIDERS[suffix] for suffix in suffixes if suffix in PROVIDERS), None)


def site_name(hosts: Sequence[str]) -> str:
    """The provider's name, or the end that all host names share with a hash of their set: `dest.example#3f2a91c0`.

    `hosts` are all MX hosts of a domain in lower case, in any order.
    """
    names = sorted(set(hosts))
    providers = {provider_of(name) for name in names}
    if len(providers) == 1 and (provider := providers.pop()) is not None:
        return provider
    digest = hashlib.blake2s("\n".join(names).encode(), digest_size=4).hexdigest()
    return f"{_shared_end(names) or names[0]}#{digest}"


def _shared_end(names: Sequence[str]) -> str:
    """Without the first label, which names the machine, where three or more would be left."""
    if len(names) == 1:
        _, _, rest = names[0].partition(".")
        return rest if "." in rest else names[0]
    columns = zip(*(reversed(name.split(".")) for name in names), strict=False)
    shared = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    return ".".join(reversed(shared)) if len(shared) > 1 else ""
