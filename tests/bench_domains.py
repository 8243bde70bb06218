"""How long one worker takes to look at all sending domains anew, and what mail notices of it.

Runs deliverer, worker and beat of the Procfile on embedded servers with fsync on, and a name server of many validated
domains in a process of its own; sends mail at a steady rate, then makes all domains due at once. Prints domains/s, and
p50 and p99 of accepted-to-delivered with and without.
    .venv/bin/python tests/bench_domains.py [--domains 10000] [--rate 200] [--quiet 15]
"""

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from relay.embedded.servers import servers
from tests.bench import sink
from tests.stack import ROOT

SOA = "ns.relay.test hostmaster.relay.test 1 3600 600 86400 60"
WAITS = """
SELECT extract(epoch FROM d.at - a.at)::float8 FROM activity_statusevent a JOIN activity_statusevent d
USING (recipient_id) WHERE a.status = 'accepted' AND d.status = 'delivered' AND a.at >= %s
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=200, help="messages a second")
    parser.add_argument("--quiet", type=float, default=15.0, help="seconds of mail alone before")
    parser.add_argument("--most", type=float, default=600.0, help="seconds after which it has failed")
    return parser.parse_args()


def make_domains(number):
    """Validated domains of one account, each with its own names and all with the same two keys; the first one sends."""
    from domains.keys import make_private_key, public_key_of
    from domains.models import DkimKey, Domain
    from tests.factories import make_account, make_plan, timezone

    now = timezone.now()
    account = make_account(plan=make_plan(monthly_quota=2**31 - 1))
    made = Domain.objects.bulk_create(
        Domain(account=account, name=f"shop{n}.example", validated_at=now, next_check_at=None) for n in range(number)
    )
    pairs = [(slot, key, public_key_of(key)) for slot, key in enumerate((make_private_key(), make_private_key()), 1)]
    DkimKey.objects.bulk_create(
        (
            DkimKey(
                domain=domain,
                slot=slot,
                active=slot == 1,
                private_key=key,
                public_key=public,
                seen_at=now,
                usable_at=now,
            )
            for domain in made
            for slot, key, public in pairs
        ),
        batch_size=1000,
    )
    return made


def records_of_all(domains):
    from domains.records import records_of
    from domains.zone import zone_records

    yield ".", "SOA", SOA
    yield "ns.relay.test", "A", "127.0.0.1"
    for apex in ("relay.test", *(domain.name for domain in domains)):
        yield apex, "SOA", SOA
        yield apex, "NS", "ns.relay.test"
    for domain in domains:
        for record in records_of(domain):
            yield record.name, "CNAME", record.target
    yield from zone_records()


@contextlib.contextmanager
def farm(folder, records):
    """The name server's port."""
    file = folder / "farm.json"
    file.write_text(json.dumps(records))
    with running([sys.executable, "-m", "tests.dns_farm", str(file)], stdout=subprocess.PIPE, text=True) as process:
        yield int(process.stdout.readline())


@contextlib.contextmanager
def running(command, **options):
    process = subprocess.Popen(command, cwd=ROOT, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def program(name):
    """A line of the Procfile, by this Python."""
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    return [sys.executable, "-m", *shlex.split(lines[name])]


class Mail(threading.Thread):
    """Has `rate` messages a second accepted, until it is told to end; afterwards says how they fared."""

    def __init__(self, domain, rate):
        super().__init__(daemon=True)
        self.domain, self.rate, self.sent, self.ended = domain, rate, 0, threading.Event()

    def run(self):
        asyncio.run(self.feed())

    async def feed(self):
        import psycopg

        from activity.accept import accept_each
        from activity.pool import conninfo

        started = time.monotonic()
        async with await psycopg.AsyncConnection.connect(conninfo(), autocommit=True) as connection:
            while not self.ended.is_set():
                wanted = int((time.monotonic() - started) * self.rate) - self.sent
                await accept_each(connection, [self.arrival() for _ in range(wanted)])
                self.sent += wanted
                await asyncio.sleep(0.02)

    def arrival(self):
        from activity.arrival import Arrival

        body = b"From: a@shop0.example\r\nTo: x@dest.test\r\nSubject: bench\r\n\r\n" + 50 * (76 * b"x" + b"\r\n")
        values = {"account_id": self.domain.account_id, "domain_id": self.domain.pk, "credential_id": None}
        return Arrival(
            **values, mail_from="a@shop0.example", recipients=["x@dest.test"], size=len(body), read_body=lambda: body
        )

    def __enter__(self):
        from tests.factories import timezone

        self.since, self.started = timezone.now(), time.monotonic()
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()
        while len(waits := self.waits()) < self.sent:
            time.sleep(0.1)
        cuts = statistics.quantiles(waits, n=100)
        self.delivered = len(waits) / (time.monotonic() - self.started)
        self.p50, self.p99 = cuts[49] * 1000, cuts[98] * 1000

    def waits(self):
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(WAITS, [self.since])
            return [wait for (wait,) in cursor.fetchall()]

    def __str__(self):
        return f"{self.delivered:.0f} delivered/s, accepted to delivered p50 {self.p50:.0f} ms, p99 {self.p99:.0f} ms"


def look_at_all(worker, options):
    """Until every domain was looked at, while mail flows."""
    import psutil

    from domains.models import Domain
    from tests.factories import timezone

    times = psutil.Process(worker.pid).cpu_times
    started, before = time.monotonic(), sum(times()[:2])
    Domain.objects.update(next_check_at=timezone.now())
    while left := Domain.objects.filter(checked_at=None).count():
        if time.monotonic() - started > options.most:
            raise SystemExit(f"{left} domains were not looked at in {options.most:.0f} s")
        time.sleep(0.5)
    took, cost = time.monotonic() - started, sum(times()[:2]) - before
    right = {f"found__{key}__state": "validated" for key in ("dkim1", "dkim2", "bounce")}
    if wrong := Domain.objects.exclude(**right, failing_since=None).count():
        raise SystemExit(f"{wrong} domains were not found right")
    rate, each = options.domains / took, cost / options.domains * 1000
    print(f"{options.domains} domains looked at in {took:.0f} s: {rate:.0f}/s, {each:.1f} ms CPU of the worker each")


def bench(folder, options):
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    domains = make_domains(options.domains)
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(farm(folder, list(records_of_all(domains))))
        os.environ.update(RELAY_DNS=f"127.0.0.1:{port}", RELAY_DNS_PORT=str(port))
        _, worker, _ = (stack.enter_context(running(program(each))) for each in ("deliverer", "worker", "beat"))
        time.sleep(5)
        with Mail(domains[0], options.rate):
            time.sleep(3)  # connections are made, caches are warm
        with Mail(domains[0], options.rate) as alone:
            time.sleep(options.quiet)
        print(f"mail alone          {alone}", flush=True)
        with Mail(domains[0], options.rate) as beside:
            look_at_all(worker, options)
        print(f"mail beside checks  {beside}")
        print(
            f"ratio               delivered {beside.delivered / alone.delivered:.2f}, p50 {beside.p50 / alone.p50:.2f}"
        )


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder, sink() as port, servers(Path(folder)) as both:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="relay.settings",
            PYTHONWARNINGS="ignore",
            RELAY_HOME=folder,
            RELAY_SECRET_KEY="only-for-the-bench-" * 3,
            RELAY_ZONE="relay.test",
            RELAY_PRIVATE_MX="1",
            RELAY_ROUTES=f"*=127.0.0.1:{port}",
            DATABASE_URL=both.database_url,
            REDIS_URL=both.redis_url,
        )
        bench(Path(folder), options)


if __name__ == "__main__":
    main()
