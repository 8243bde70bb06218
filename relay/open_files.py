"""How many files a program may have open: each connection is one, and systems start programs with 1,024."""

import resource

MANY = 65_536


def allow_many() -> None:
    """As many as the system lets us have, up to MANY."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY if most == resource.RLIM_INFINITY else min(MANY, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
