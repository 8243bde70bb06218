"""Durations as people write them: `90s`, `5m`, `48h`."""

import re

DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


def duration(raw: str) -> float:
    """`90`, `90s`, `5m`, `48h` or `7d` in seconds; raises ValueError for anything else."""
    match = DURATION.fullmatch(raw.strip())
    if match is None:
        raise ValueError(raw)
    return float(match[1]) * SECONDS[match[2]]


def schedule(raw: str) -> list[float]:
    """Durations separated by commas, in seconds; raises ValueError."""
    return [duration(part) for part in raw.split(",")]
