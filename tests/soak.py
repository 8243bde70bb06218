"""A soak: mail at a steady rate to servers with moods (tests/moody_sink.py), then every email is accounted for.

    .venv/bin/python -m tests.soak --minutes 10 --rate 40

Prints the figures, and ends with 1 when an email was lost, stuck, sent twice without a cause, or bounced wrongly.
"""

import argparse
import asyncio
import contextlib
import itertools
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import ask, free_port, reply
from tests.stack import ROOT, running_stack

# Every name of the demo's world that leads to this machine: what is learnt of TLS is learnt host by host.
HOSTS = ("localhost", "127.0.0.1", "mx.simulator.test", "mx.relay.test", "smtp.relay.test", "ns.relay.test")
DOMAINS = 30
SESSIONS = 4
HARD = 0.03
RETRY = "1s,2s,4s,8s,15s,30s"
# A retry may come this much later than it was booked.
OVERDUE = "15 seconds"


@contextlib.contextmanager
def moody_sink(log):
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.moody_sink", str(port), str(log)], cwd=ROOT)
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def moody_world(home):
    """A whole relay whose mail all goes to one moody server; gives the stack and the server's log."""
    home = Path(home)
    home.mkdir(parents=True, exist_ok=True)
    with moody_sink(home / "sink.log") as port:
        routes = [f"d{n}.dest.test={HOSTS[n % len(HOSTS)]}:{port}" for n in range(DOMAINS)]
        settings = {"RELAY_ROUTES": ",".join(routes), "RELAY_RETRY": RETRY, "RELAY_GIVE_UP": "10m"}
        with running_stack(home / "var", RELAY_MESSAGES_A_MINUTE="1000000", **settings) as stack:
            yield stack, home / "sink.log"


async def send(stack, rate, seconds, accepted):
    """`rate` messages a second by several sessions for so long; adds the addresses that got 250 to `accepted`."""
    sender = f"soak@{stack.up['domain']}"
    numbers = itertools.count()
    ends = time.monotonic() + seconds

    async def session():
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.up["submission"]["plain_port"])
        await reply(reader)
        await ask(reader, writer, b"EHLO soak.test\r\n")
        due = time.monotonic()
        while due < ends:
            number = next(numbers)
            kind = "hard" if number % round(1 / HARD) == 0 else "good"
            address = f"{kind}-{number}@d{number % DOMAINS}.dest.test"
            await ask(reader, writer, f"MAIL FROM:<{sender}>\r\n".encode())
            await ask(reader, writer, f"RCPT TO:<{address}>\r\n".encode())
            await ask(reader, writer, b"DATA\r\n")
            text = f"From: <{sender}>\r\nTo: <{address}>\r\nSubject: soak\r\n\r\n{'soak ' * 400}\r\n.\r\n"
            if (await ask(reader, writer, text.encode())).startswith(b"250"):
                accepted.append(address)
            due += SESSIONS / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        writer.close()

    await asyncio.gather(*(session() for _ in range(SESSIONS)))


@dataclass
class Account:
    """What the books and the server's log say of the accepted addresses."""

    accepted: list[str]
    statuses: dict[str, str]
    overdue: int
    events: Counter = field(default_factory=Counter)
    received: Counter = field(default_factory=Counter)
    unsure: Counter = field(default_factory=Counter)

    @classmethod
    def of(cls, stack, log, accepted):
        rows = stack.sql("SELECT address, status FROM activity_recipient WHERE domain LIKE 'd%%.dest.test'")
        ((overdue,),) = stack.sql(
            "SELECT count(*) FROM activity_recipient WHERE status IN ('accepted', 'pending', 'deferred')"
            " AND coalesce(next_attempt_at < now() - %s::interval, true)",
            OVERDUE,
        )
        account = cls(accepted, dict(rows), overdue)
        # Read behind the books: what they call delivered by then has been received.
        for line in log.read_text().splitlines():
            event, stage, address = line.split()
            account.events[f"{event} {stage}"] += 1
            account.received[address] += event == "taken"
            account.unsure[address] += event == "unsure"
        return account

    def problems(self):
        """One sentence for each promise that was not kept."""
        delivered = {address for address, status in self.statuses.items() if status == "delivered"}
        waiting = [status for status in self.statuses.values() if status in ("accepted", "pending")]
        hard = {address for address, status in self.statuses.items() if status == "hard_bounce"}
        twice = {address for address, times in self.received.items() if times > 1 + self.unsure[address]}
        found = {
            "accepted emails are not in the books": set(self.accepted) - set(self.statuses),
            "emails are in the books twice or were never accepted": len(self.statuses) - len(self.accepted),
            "emails are left Accepted or Pending": waiting,
            "emails are overdue": self.overdue,
            "emails are Delivered and were never received": {each for each in delivered if not self.received[each]},
            "emails were received more often than drops behind the final dot explain": twice,
            "good addresses bounced hard": {each for each in hard if not each.startswith("hard-")},
            "bad addresses were delivered": {each for each in delivered if each.startswith("hard-")},
        }
        return [f"{what}: {those}" for what, those in found.items() if those]

    def __str__(self):
        twice = sum(times - 1 for times in self.received.values() if times > 1)
        unsure = sum(self.unsure.values())
        return (
            f"accepted {len(self.accepted)}, {dict(Counter(self.statuses.values()))}\n"
            f"received {self.received.total()}, twice {twice} of {unsure} whose answer was lost\n"
            f"the server: {dict(sorted(self.events.items()))}"
        )


def settled(stack, seconds):
    """Until nothing waits, or so long."""
    until = time.monotonic() + seconds
    waiting = {"accepted", "pending", "deferred"}
    while waiting & set(stack.statuses()) and time.monotonic() < until:
        time.sleep(0.5)


def watched(stack, seconds, until):
    """The deliverer's memory (PSS, in MB) now and then; a line each."""
    began = time.monotonic()
    while not until.wait(seconds):
        memory = stack.program("deliverer").memory_full_info()
        statuses = stack.statuses()
        print(f"{time.monotonic() - began:5.0f} s  deliverer {memory.pss / 1e6:.0f} MB  {statuses}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=40.0, help="messages a second")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="relay-soak-"))
    accepted = []
    try:
        with moody_world(home) as (stack, log):
            ended = threading.Event()
            threading.Thread(target=watched, args=(stack, 30, ended), daemon=True).start()
            asyncio.run(send(stack, options.rate, options.minutes * 60, accepted))
            settled(stack, 120)
            ended.set()
            account = Account.of(stack, log, accepted)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(account)
    for problem in account.problems():
        print(problem[:500])
    return 1 if account.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
