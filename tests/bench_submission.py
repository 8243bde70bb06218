"""What submission bears, run by hand: `.venv/bin/python tests/bench_submission.py [--big] [--loris] [--flood]`.

Fifty clients send 20 MB each at the same time: none may be lost, and the program stays under 600 MB. Two thousand idle
connections say one byte a second: a well-behaved client's time to 250 stays under twice its usual. One account is
refused a thousand times a second for a minute: few rows and a counter, and another account notices nothing.
"""

import argparse
import asyncio
import contextlib
import hashlib
import resource
import secrets
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections import Counter
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.bench import SINK_DOMAIN, ask, reply, sink
from tests.stack import ROOT, running_stack

CLIENTS, SIZE = 50, 20_971_520
BLOCK = 65_536
IDLE, ROUNDS, PROBES = 2_000, 4, 150
FLOOD_SECONDS, FLOOD_RATE, FLOOD_BURST = 60, 1_000, 100
MEGABYTE = 1 << 20


class Watcher(threading.Thread):
    """The most memory that a process had, in bytes: its proportional share (PSS) and its resident set (RSS)."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.process, self.pss, self.rss, self.ended = process, 0, 0, threading.Event()

    def run(self):
        while not self.ended.wait(0.1):
            memory = self.process.memory_full_info()
            self.pss, self.rss = max(self.pss, memory.pss), max(self.rss, memory.rss)

    def stop(self):
        self.ended.set()
        self.join()


def big_message(sender):
    """20,971,520 bytes with its header and its last line end."""
    head = f"From: <{sender}>\r\nTo: <big@{SINK_DOMAIN}>\r\nSubject: big\r\n\r\n".encode()
    line = b"x" * 76 + b"\r\n"
    whole, rest = divmod(SIZE - len(head), len(line))
    return head + line * (whole - 1) + b"x" * (len(line) + rest - 2) + b"\r\n"


async def send_big(up, sender, message):
    """The reply to the final dot, or to the command that was refused."""
    submission = up["submission"]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(submission["host"], submission["tls_port"], ssl=context)
    await reply(reader)
    login = b64encode(f"\0{submission['username']}\0{submission['password']}".encode())
    for command in (
        b"EHLO bench.test",
        b"AUTH PLAIN " + login,
        f"MAIL FROM:<{sender}> SIZE={len(message)}".encode(),
        f"RCPT TO:<big@{SINK_DOMAIN}>".encode(),
        b"DATA",
    ):
        if (answer := await ask(reader, writer, command + b"\r\n"))[:1] not in b"23":
            return answer
    for at in range(0, len(message), BLOCK):
        writer.write(message[at : at + BLOCK])
        await writer.drain()
    answer = await ask(reader, writer, b".\r\n")
    writer.close()
    return answer


async def send_all_big(up, sender):
    message = big_message(sender)
    return await asyncio.gather(*(send_big(up, sender, message) for _ in range(CLIENTS)), return_exceptions=True)


def big(stack):
    sender, since = f"bench@{stack.up['domain']}", stack.newest_id()
    watcher = Watcher(stack.program("submission"))
    before = watcher.process.memory_full_info()
    watcher.start()
    started = time.monotonic()
    answers = uvloop.run(send_all_big(stack.up, sender))
    took = time.monotonic() - started
    watcher.stop()
    kept = stack.sql(
        "SELECT count(*), min(m.size) FROM activity_message m JOIN activity_recipient r ON r.message_id = m.id"
        " WHERE r.id > %s AND r.status <> 'rejected'",
        since,
    )[0]
    codes = Counter(answer[:3].decode() if isinstance(answer, bytes) else repr(answer) for answer in answers)
    print(f"{CLIENTS} clients × {SIZE:,} bytes at once, over TLS: {dict(codes)} in {took:.1f} s; {kept[0]} emails kept")
    print(
        f"  memory of submission: before PSS {before.pss / MEGABYTE:.0f} MB;"
        f" at most PSS {watcher.pss / MEGABYTE:.0f} MB, RSS {watcher.rss / MEGABYTE:.0f} MB (promise: under 600)"
    )
    assert codes.total() == CLIENTS
    assert all(code[0] in "24" for code in codes), "each is accepted or told 4xx"
    assert kept[0] == codes["250"], "what was accepted is there, and nothing else"
    assert max(watcher.pss, watcher.rss) < 600 * MEGABYTE


async def hang_on(port):
    """Connections that never end their first command, one byte a second each; says when all are open."""
    writers = []
    for _ in range(IDLE):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
    print("open", flush=True)
    while True:
        for number, writer in enumerate(writers):
            writer.write(b"x")
            if number % 100 == 99:
                await asyncio.sleep(1 / (IDLE / 100))


@contextlib.contextmanager
def slow_loris(port):
    command = [sys.executable, __file__, "--hang-on", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"open\n"
        yield
    finally:
        process.kill()
        process.wait()


def time_to_250(stack):
    """p50 in seconds, of one client that keeps its connection."""
    sender, times = f"bench@{stack.up['domain']}", []
    message = f"From: <{sender}>\r\nTo: <probe@{SINK_DOMAIN}>\r\nSubject: probe\r\n\r\nprobe\r\n"
    with stack.client() as client:
        for _ in range(PROBES):
            started = time.monotonic()
            client.sendmail(sender, f"probe@{SINK_DOMAIN}", message)
            times.append(time.monotonic() - started)
            time.sleep(0.02)
    return statistics.median(times)


def loris(stack):
    alone, beside = [], []
    time_to_250(stack)
    for _ in range(ROUNDS):
        alone.append(time_to_250(stack))
        with slow_loris(stack.up["submission"]["port"]):
            beside.append(time_to_250(stack))
        time.sleep(2)
    ratio = statistics.median(beside) / statistics.median(alone)
    print(f"time to 250, p50 of each round in ms: alone {in_ms(alone)}; beside {IDLE} slow connections {in_ms(beside)}")
    print(f"  ratio {ratio:.2f} (promise: under 2)")


def make_stranger(stack):
    """The user name and the secret of an account that may send as no domain."""
    secret = secrets.token_urlsafe(32)
    ((account,),) = stack.sql(
        "INSERT INTO billing_account (name, plan_id, time_zone, language, created_at)"
        " SELECT 'Flood', plan_id, time_zone, language, now() FROM billing_account LIMIT 1 RETURNING id"
    )
    stack.sql(
        "INSERT INTO domains_smtpcredential (account_id, name, username, secret_sha256, networks, created_at)"
        " VALUES (%s, 'flood', 'flood', %s, '{}', now()) RETURNING id",
        *(account, hashlib.sha256(secret.encode()).digest()),
    )
    return account, "flood", secret


async def flood_on(port, username, secret):
    """A thousand refused recipients a second, for a minute; prints how many there were."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    await reply(reader)
    login = b64encode(f"\0{username}\0{secret}".encode())
    for command in (b"EHLO bench.test", b"AUTH PLAIN " + login):
        await ask(reader, writer, command + b"\r\n")
    started, refused = time.monotonic(), 0
    while (passed := time.monotonic() - started) < FLOOD_SECONDS:
        if refused > passed * FLOOD_RATE:
            await asyncio.sleep(0.01)
            continue
        recipients = (b"RCPT TO:<r%d@example.org>\r\n" % number for number in range(refused, refused + FLOOD_BURST))
        writer.write(b"MAIL FROM:<x@stranger.example>\r\n" + b"".join(recipients) + b"RSET\r\n")
        answers = [await reply(reader) for _ in range(FLOOD_BURST + 2)]
        assert {answer[:3] for answer in answers[1:-1]} == {b"550"}
        refused += FLOOD_BURST
    print(refused, flush=True)


def flood(stack):
    account, username, secret = make_stranger(stack)
    time_to_250(stack)
    alone = [time_to_250(stack) for _ in range(2)]
    command = [sys.executable, __file__, "--flood-on", str(stack.up["submission"]["tls_port"]), username, secret]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        beside = []
        while process.poll() is None:
            beside.append(time_to_250(stack))
        refused = int(process.stdout.read())
    time.sleep(3)
    ((rows,),) = stack.sql("SELECT count(*) FROM activity_recipient WHERE account_id = %s", account)
    ((counted,),) = stack.sql("SELECT sum(refused_unrecorded) FROM billing_usage WHERE account_id = %s", account)
    print(f"{refused} refusals in {FLOOD_SECONDS} s: {rows} rows, {counted} counted without one")
    print(f"  the neighbour's time to 250, p50 in ms: alone {in_ms(alone)}; beside it {in_ms(beside)}")
    assert rows + counted == refused
    assert rows < 300


def in_ms(times):
    return ", ".join(f"{seconds * 1_000:.1f}" for seconds in times)


def allow_many_connections():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--big", action="store_true", help="only the big messages")
    parser.add_argument("--loris", action="store_true", help="only the slow connections")
    parser.add_argument("--flood", action="store_true", help="only the flood of refusals")
    parser.add_argument("--flood-on", nargs=3, metavar=("PORT", "NAME", "SECRET"), help=argparse.SUPPRESS)
    parser.add_argument("--hang-on", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    allow_many_connections()
    if options.hang_on:
        uvloop.run(hang_on(options.hang_on))
    if options.flood_on:
        uvloop.run(flood_on(int(options.flood_on[0]), *options.flood_on[1:]))
        return
    everything = not (options.big or options.loris or options.flood)
    home = Path(tempfile.mkdtemp(prefix="relay-bench-"))
    try:
        with sink() as port, running_stack(home / "var", RELAY_ROUTES=f"{SINK_DOMAIN}=127.0.0.1:{port}") as stack:
            if options.big or everything:
                big(stack)
            if options.loris or everything:
                loris(stack)
            if options.flood or everything:
                flood(stack)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
