"""How much one client address may ask of the return-path server: connections, reports, wrong addresses."""

from dataclasses import dataclass, field

from relay.limits import Buckets, Room, Slots


@dataclass(slots=True)
class Limits:
    """One set a process. `room` is for reports on their way in, all connections together; the rest is by address."""

    connections: int
    connections_of_one: int
    room: Room
    reports: Buckets
    refusals: Buckets
    open: Slots = field(default_factory=Slots)

    def connect(self, peer: str) -> bool:
        """Follow a True with one `open.give_back`."""
        return self.open.total() < self.connections and self.open.take(peer, self.connections_of_one)

    def exceeded(self, peer: str) -> bool:
        """Too many reports in a minute, or addresses that we do not know."""
        return self.reports.level(peer) < 1 or self.too_many_unknown(peer)

    def too_many_unknown(self, peer: str) -> bool:
        return self.refusals.level(peer) < 1
