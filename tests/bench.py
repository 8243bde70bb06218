"""`make bench`: the whole relay under load on embedded servers with fsync on, and Postfix beside it if wanted.

Prints accepted/s and delivered/s, p50/p99 of the time to 250 and from accepted to delivered, the processor time of each
program a message, and the most memory the deliverer held. What is promised of it, each with its mode:

    make bench ARGS="--peer ../shared/bench/postfix.sh"                    4 KB messages beside Postfix + OpenDKIM
    make bench ARGS="--peer ../shared/bench/postfix.sh --bytes 102400 --messages 2000"
    make bench ARGS="--domains 2000 --messages 2000"                       one email a domain, beside one domain
    make bench ARGS="--domains 1000 --slow 0.5 --messages 8000 --rounds 1" each command answered after half a second
    make bench ARGS="--domains 1000 --slow 0.5 --messages 8000 --rounds 1 --dead 50"   with and without dead ones
    make bench ARGS="--backlog --messages 10000 --bytes 102400 --rounds 1" memory while 10,000 emails are due
Every run begins with ten seconds of light load.
"""

import argparse
import asyncio
import contextlib
import copy
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.stack import ROOT, running_stack

SINK_DOMAIN = "dest.test"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--bytes", type=int, default=4096, dest="size")
    parser.add_argument("--rounds", type=int, default=2, help="the best one counts: the machine may be shared")
    parser.add_argument("--connections", type=int, default=20, help="to the destination")
    parser.add_argument("--domains", type=int, default=1, help="destination domains that share the messages")
    parser.add_argument("--slow", type=float, default=0.0, help="seconds before each answer of the destinations")
    parser.add_argument(
        "--dead", type=int, default=0, help="more domains, to which every eleventh message goes in vain"
    )
    parser.add_argument("--backlog", action="store_true", help="the deliverer stands still until all are accepted")
    parser.add_argument("--peer", type=Path, help="the script that measures Postfix beside us")
    parser.add_argument("--own-load", action="store_true", help="our own load generator although smtp-source is there")
    return parser.parse_args()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def sink(slow=0.0):
    """A server that takes everything: smtp-sink, or the simulator where that is missing or slowness is wanted."""
    port = free_port()
    program = shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program and not slow:
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = [program, *user, f"127.0.0.1:{port}", "1000"]
    else:
        command = [sys.executable, "-m", "tests.sink", str(port), str(slow)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def dead_port():
    """A port to which connecting hangs: its backlog is full, and nobody accepts."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def destination(number, options):
    """The domain of message `number`: all take turns, and every eleventh goes to a dead one, if there are any."""
    if options.dead and number % 11 == 10:
        return f"dead{number // 11 % options.dead}.test"
    return SINK_DOMAIN if options.domains == 1 else f"d{number % options.domains}.{SINK_DOMAIN}"


def send_with_smtp_source(program, port, options, sender):
    started = time.monotonic()
    command = [program, "-s", str(options.sessions), "-l", str(options.size), "-m", str(options.messages), "-d"]
    command += ["-N", "-f", sender, "-t", f"rcpt@{SINK_DOMAIN}", f"127.0.0.1:{port}"]
    subprocess.run(command, check=True)
    return time.monotonic() - started


def send_with_our_own(port, options, sender):
    async def session(first):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reply(reader)
        await ask(reader, writer, b"EHLO bench.test\r\n")
        line = b"x" * 76 + b"\r\n"
        body = line * (options.size // len(line))
        head = f"From: <{sender}>\r\nTo: <rcpt@{SINK_DOMAIN}>\r\nSubject: bench\r\n\r\n".encode()
        for number in range(first, options.messages, options.sessions):
            await ask(reader, writer, f"MAIL FROM:<{sender}>\r\n".encode())
            await ask(reader, writer, f"RCPT TO:<rcpt@{destination(number, options)}>\r\n".encode())
            await ask(reader, writer, b"DATA\r\n")
            assert (await ask(reader, writer, head + body + b".\r\n")).startswith(b"250")
        writer.close()

    async def run():
        await asyncio.gather(*(session(first) for first in range(options.sessions)))

    started = time.monotonic()
    asyncio.run(run())
    return time.monotonic() - started


async def reply(reader):
    while True:
        line = await reader.readline()
        if line[3:4] != b"-":
            return line


async def ask(reader, writer, data):
    writer.write(data)
    return await reply(reader)


class Memory(threading.Thread):
    """The most memory (bytes, resident) that a process had."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.process, self.most, self.ended = process, 0, threading.Event()

    def run(self):
        while not self.ended.wait(0.1):
            self.most = max(self.most, self.process.memory_info().rss)


class Prober(threading.Thread):
    """One message every 50 ms beside the load: how long a well-behaved client waits for its 250 (seconds)."""

    def __init__(self, stack, sender):
        super().__init__(daemon=True)
        self.stack, self.sender, self.times, self.ended = stack, sender, [], threading.Event()

    def run(self):
        message = f"From: <{self.sender}>\r\nTo: <probe@{SINK_DOMAIN}>\r\nSubject: probe\r\n\r\nprobe\r\n"
        with self.stack.client() as client:
            while not self.ended.wait(0.05):
                started = time.monotonic()
                client.sendmail(self.sender, f"probe@{SINK_DOMAIN}", message)
                self.times.append(time.monotonic() - started)


def cpu_seconds(stack):
    """{program: processor seconds so far}, children included: as a cost it hardly depends on what else is running."""
    spent = {}
    for name in ("submission", "deliverer", "postgres", "valkey", "worker"):
        program = stack.program(name)
        family = [program, *program.children(recursive=True)]
        spent[name] = sum(sum(each.cpu_times()[:2]) for each in family)
    return spent


def percentiles(times):
    if len(times) < 2:
        return "too few"
    cuts = statistics.quantiles(times, n=100)
    return f"p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms"


def send(stack, options, sender):
    """Seconds until the last 250."""
    port = stack.up["submission"]["plain_port"]
    program = shutil.which("smtp-source", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program and not options.own_load and options.domains == 1 and not options.dead:
        return send_with_smtp_source(program, port, options, sender)
    return send_with_our_own(port, options, sender)


def wait_until_delivered(stack, since, expected):
    started = time.monotonic()
    while (done := stack.statuses(since)).get("delivered", 0) < expected:
        if time.monotonic() - started > 600:
            raise SystemExit(f"not delivered after 10 minutes: {done}")
        time.sleep(0.1)


@contextlib.contextmanager
def standing_still(process):
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def one_round(stack, options):
    sender = f"bench@{stack.up['domain']}"
    since = stack.newest_id()
    prober, memory = Prober(stack, sender), Memory(stack.program("deliverer"))
    prober.start()
    memory.start()
    expected = sum(not destination(n, options).startswith("dead") for n in range(options.messages))
    before = cpu_seconds(stack)
    started = time.monotonic()
    with standing_still(memory.process) if options.backlog else contextlib.nullcontext():
        took = send(stack, options, sender)
    if options.backlog:
        started = time.monotonic()
    wait_until_delivered(stack, since, expected)
    all_took = time.monotonic() - started
    costs = {name: (spent - before[name]) / expected * 1000 for name, spent in cpu_seconds(stack).items()}
    for thread in (prober, memory):
        thread.ended.set()
        thread.join()
    accepted, delivered = options.messages / took, expected / all_took
    print(f"relay             accepted {accepted:.0f}/s delivered {delivered:.0f}/s")
    print(f"  time to 250            {percentiles(prober.times)}")
    print(f"  accepted to delivered  {percentiles(waits(stack, since))}")
    print(f"  CPU ms a message       {', '.join(f'{name} {cost:.2f}' for name, cost in costs.items())}")
    print(f"  deliverer's memory     {memory.most / 1e6:.0f} MB", flush=True)
    return accepted, delivered


def waits(stack, since):
    """Seconds from accepted to delivered."""
    found = stack.sql(
        "SELECT extract(epoch FROM d.at - a.at)::float8 FROM activity_statusevent a JOIN activity_statusevent d"
        " USING (recipient_id) WHERE a.status = 'accepted' AND d.status = 'delivered' AND a.recipient_id > %s",
        since,
    )
    return [wait for (wait,) in found]


def light_load(stack, seconds=10):
    """10 messages a second: the way of one email when nobody else is there."""
    since = stack.newest_id()
    sender = f"bench@{stack.up['domain']}"
    with stack.client() as client:
        for _ in range(seconds * 10):
            client.sendmail(sender, f"light@{SINK_DOMAIN}", f"From: <{sender}>\r\nSubject: light\r\n\r\nlight\r\n")
            time.sleep(0.1)
    time.sleep(1)
    print(f"light load, 10/s: accepted to delivered {percentiles(waits(stack, since))}", flush=True)


@contextlib.contextmanager
def peer(script, port):
    """Postfix + OpenDKIM, whose mail goes to the same server as ours; gives what runs one round of it."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([script, "start", "10025", str(port)], check=True, **quiet)

    def run(options):
        command = [script, "run", str(options.messages), str(options.sessions), str(options.size)]
        line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        print(line, flush=True)
        return tuple(float(rate) for rate in re.findall(r"(\d+)/s", line))

    try:
        yield run
    finally:
        subprocess.run([script, "stop"], check=False, **quiet)


def compared(options):
    """(name, options) of what the rates are to be compared with, if this mode promises a ratio."""
    other = copy.copy(options)
    other.dead = 0
    if options.dead:
        return "without the dead ones", other
    other.domains, other.own_load = 1, True
    return ("one domain", other) if options.domains > 1 and not options.slow else None


def rounds(stack, options, theirs):
    """In turns, so that what else the machine does is fair to both; the best round of each counts."""
    comparison = compared(options)
    ours, others = [], []
    for _ in range(options.rounds):
        if theirs is not None:
            others.append(theirs(options))
        elif comparison is not None:
            print(f"{comparison[0]}:")
            others.append(one_round(stack, comparison[1]))
        ours.append(one_round(stack, options))
    if others:
        ratios = [
            max(column) / max(other)
            for column, other in zip(zip(*ours, strict=True), zip(*others, strict=True), strict=True)
        ]
        name = "the peer" if theirs is not None else comparison[0]
        print(f"ratio to {name}: accepted {ratios[0]:.2f}, delivered {ratios[1]:.2f}")


def main():
    options = arguments()
    home = Path(tempfile.mkdtemp(prefix="relay-bench-"))
    print(f"{options.messages} messages of {options.size} bytes over {options.sessions} sessions, DKIM on, fsync on")
    try:
        with sink(options.slow) as port, dead_port() as dead, contextlib.ExitStack() as more:
            routes = [f"*=127.0.0.1:{port}", *(f"dead{n}.test=127.0.0.1:{dead}" for n in range(options.dead))]
            settings = {
                "RELAY_ROUTES": ",".join(routes),
                "RELAY_LANE_CONNECTIONS": str(options.connections),
                "RELAY_MESSAGES_A_MINUTE": "100000000",
            }
            theirs = more.enter_context(peer(options.peer, port)) if options.peer else None
            stack = more.enter_context(running_stack(home / "var", **settings))
            time.sleep(3)
            light_load(stack)
            rounds(stack, options, theirs)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
