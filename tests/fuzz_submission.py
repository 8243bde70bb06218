"""Fuzzes what reads a client's bytes in submission: commands, the DATA reader, the header block, the PROXY header.

    .venv/bin/python tests/fuzz_submission.py --seconds 60 --seed 7   our own mutations of the collections
    python tests/fuzz_submission.py --atheris -max_total_time=600     guided by coverage, where atheris is installed

An input that breaks something is printed as Python bytes. At the end: the number of inputs, the slowest one, and how
much memory the process grew after its caches were full.
"""

import argparse
import gc
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPORA = ROOT.parent / "shared/corpora"
MAX_INPUT = 20_000
WARM = 0.4  # the part of the time that fills the caches

TOKENS = [
    *(b"\r\n.\r\n", b"\n.\n", b"\r.\r", b"\r\n", b"\n", b"\r", b"\0", b".", b"..", b":", b" ", b"\t", b"<", b">", b'"'),
    *(b"EHLO a\r\n", b"HELO a\r\n", b"MAIL FROM:<shop@boutique.example>", b"MAIL FROM:<>", b"RCPT TO:<a@example.org>"),
    *(b" SIZE=99", b" SIZE=99999999999", b" SMTPUTF8", b" BODY=8BITMIME", b" AUTH=<>", b"DATA\r\n", b"RSET\r\n"),
    *(b"AUTH PLAIN AHUAcmlnaHQ=\r\n", b"AUTH LOGIN\r\n", b"dXNlcg==\r\n", b"*\r\n", b"=\r\n", b"QUIT\r\n", b"NOOP\r\n"),
    *(
        b"From: shop@boutique.example\r\n",
        b"Subject: =?utf-8?b?w6k=?=\r\n",
        b"Received: x\r\n",
        b"Bcc: x@y.example\r\n",
    ),
    *(b"X-Relay-Tag: t\r\n", b"X-Relay-Metadata-A: b\r\n", b"\xff\xfe", b"\xc3\xa9", b"x" * 3_000, b"\r\n\r\n"),
]
SESSION = (
    b"EHLO a\r\nAUTH PLAIN AHUAcmlnaHQ=\r\nMAIL FROM:<shop@boutique.example> SIZE=9\r\nRCPT TO:<a@example.org>\r\n"
    b"DATA\r\n%b\r\n.\r\nMAIL FROM:<shop@boutique.example>\r\nRSET\r\nQUIT\r\n"
)
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PROXY_HEADERS = [
    *(b"PROXY TCP4 192.0.2.55 198.51.100.1 4711 587\r\n", b"PROXY TCP6 ::1 ::2 1 2\r\n", b"PROXY UNKNOWN\r\n"),
    SIGNATURE + b"\x21\x11\0\x0f\xc0\0\2\x37\xc6\x33\x64\1\x12\x67\2\x4b\4\0\0",
    SIGNATURE + b"\x21\x21\0\x24" + b"\x20\1" * 18,
    SIGNATURE + b"\x20\0\0\0",
]
MESSAGE = b"From: shop@boutique.example\r\nSubject: x\r\n\r\nHello"


def seeds():
    """Messages and sessions to begin with; the first two bytes choose the target and how the rest is cut."""
    messages = [MESSAGE]
    if CORPORA.exists():
        files = sorted((CORPORA / "files/mime-all").rglob("*.eml"))
        messages += [file.read_bytes()[:MAX_INPUT] for file in files if file.stat().st_size < MAX_INPUT]
    found = [b"\0\6" + SESSION % (b"From: shop@boutique.example\r\n" + message) for message in messages]
    found += [b"\1\7" + message + b"\r\n.\r\nRSET\r\n" for message in messages]
    found += [b"\2\0From: shop@boutique.example\r\n" + message for message in messages]
    return found + [b"\3\0" + header + b"EHLO a\r\n" for header in PROXY_HEADERS]


def mutated(choose, pool):
    """One of the pool with a few random changes."""
    data = bytearray(choose.choice(pool))
    for _ in range(choose.randint(1, 6)):
        at, length = choose.randrange(len(data) + 1), choose.choice((1, 2, 8, 100, 1_000))
        match choose.randrange(6):
            case 0:
                data[at:at] = choose.choice(TOKENS)
            case 1:
                del data[at : at + length]
            case 2:
                data[at : at + length] = choose.randbytes(min(length, 8))
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                other = choose.choice(pool)
                data[at:] = other[choose.randrange(len(other)) :]
            case 5:
                token = choose.choice(TOKENS)
                data[at : at + len(token)] = token
    return bytes(data[:MAX_INPUT])


def open_target():
    """The function that takes one input; it begins with two bytes that choose (see `seeds`)."""
    from tests import submission_targets as targets

    dialogues = targets.Dialogues()
    each = (dialogues.run, targets.read_data, targets.read_header, targets.read_proxy_header)
    cut_up = (dialogues.run, targets.read_data)  # the second byte says how

    def run(data):
        if len(data) > 2:
            target = each[data[0] % len(each)]
            target(data[1:] if target in cut_up else data[2:])

    return run


def fuzz(run, seconds, seed):
    """Our own loop; the figures that are printed in the end."""
    import psutil

    choose, pool, memory = random.Random(seed), seeds(), psutil.Process()
    started = time.monotonic()
    number, slowest, before = 0, 0.0, 0
    while (passed := time.monotonic() - started) < seconds or number < len(pool):
        data = pool[number] if number < len(pool) else mutated(choose, pool)
        began = time.monotonic()
        try:
            run(data)
        except Exception:
            print(f"input {number} of seed {seed}: {data!r}", file=sys.stderr)
            raise
        slowest = max(slowest, time.monotonic() - began)
        number += 1
        if not before and passed > seconds * WARM:
            gc.collect()
            before = memory.memory_info().rss
    gc.collect()
    grown = memory.memory_info().rss - (before or memory.memory_info().rss)
    return {"inputs": number, "slowest_seconds": round(slowest, 3), "grown_bytes": grown, "seed": seed}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--atheris", action="store_true", help="other arguments go to libFuzzer")
    given, rest = parser.parse_known_args()
    home = tempfile.mkdtemp(prefix="relay-fuzz-")
    os.environ |= {"RELAY_HOME": home, "RELAY_SECRET_KEY": "only-for-tests-" * 4, "RELAY_ZONE": "relay.test"}
    os.environ["DJANGO_SETTINGS_MODULE"] = "relay.settings"
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()
    logging.disable(logging.WARNING)
    try:
        if given.atheris:
            guided(rest)
        else:
            print(json.dumps(fuzz(open_target(), given.seconds, given.seed)))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def guided(arguments):
    import atheris

    with atheris.instrument_imports(include=["relay.submission"]):
        run = open_target()
    folder = Path(tempfile.mkdtemp(prefix="relay-seeds-"))
    for number, seed in enumerate(seeds()):
        (folder / str(number)).write_bytes(seed)
    atheris.Setup([sys.argv[0], *arguments, str(folder)], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
