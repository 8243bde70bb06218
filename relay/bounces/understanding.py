"""Understanding: the bytes of a report become a Report. Pure, bounded in time and memory, and it never raises."""

from relay.bounces import dsn
from relay.bounces.mime import Part, read
from relay.bounces.report import Kind, Report


def understand(raw: bytes) -> Report:
    root = read(raw)
    return _by_status(root) or Report(Kind.OTHER)


def _by_status(root: Part) -> Report | None:
    found = [
        result
        for part in root.walk()
        if dsn.is_status(part)
        for block in dsn.blocks(part.text)
        if (result := dsn.said(block)) is not None
    ]
    if not found:
        return None
    kind = dsn.kind_of(kind for kind, _ in found)
    return Report(kind, tuple(said for each, said in found if each is kind))
