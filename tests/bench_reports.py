"""How many reports a second are taken and carried out, and what mail notices of it.

Sends bounces for emails that were delivered, over several connections, while other emails go through the relay; prints
reports taken/s and carried out/s, and the p50 and p99 of accepted-to-delivered with and without the reports.
    .venv/bin/python tests/bench_reports.py [--reports 5000] [--sessions 10] [--rate 500]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.mail_world import Client
from tests.stack import running_stack

SECRET = "only-for-the-bench-of-reports-" * 2
EMAILS = """
WITH message AS (
    INSERT INTO activity_message (id, account_id, domain_id, mail_from, header_from, subject, header_id, size, smtputf8,
        client, tag, metadata)
    SELECT uuidv7(), account_id, id, 'a@' || name, 'a@' || name, 'bench', '', 1000, false, '', '', '{}'
    FROM domains_domain, generate_series(1, %s) WHERE name = %s RETURNING id, account_id
)
INSERT INTO activity_recipient (id, message_id, account_id, address, domain, status, reason, reply, attempt)
SELECT overlay(uuidv7()::text placing substr(message.id::text, 1, 13) from 1 for 13)::uuid, message.id, account_id,
    'late@simulator.test', 'simulator.test', 'delivered', '', '', 1 FROM message RETURNING id
"""
REPORT = """\
From: MAILER-DAEMON@simulator.test\r
Subject: Undelivered Mail Returned to Sender\r
Content-Type: multipart/report; report-type=delivery-status; boundary=b\r
\r
--b\r
\r
<late@simulator.test>: 550 5.1.1 No such user here\r
--b\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.simulator.test\r
\r
Final-Recipient: rfc822; late@simulator.test\r
Action: failed\r
Status: 5.1.1\r
Diagnostic-Code: smtp; 550 5.1.1 No such user here\r
--b\r
Content-Type: message/rfc822\r
\r
Subject: bench\r
\r
{body}\r
--b--\r
.\r
"""


def return_paths(ids, host):
    import django
    from django.conf import settings

    settings.configure(SECRET_KEY=SECRET, SECRET_KEY_FALLBACKS=[])
    django.setup()
    from relay import returnpath

    return [returnpath.make(key, host) for (key,) in ids]


def send_all(port, paths, sessions, rate):
    """The senders are other machines: here a process that yields to the relay."""
    began = time.monotonic()
    senders = [
        threading.Thread(target=send_reports, args=(port, paths[n::sessions], began, rate / sessions))
        for n in range(sessions)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    print(time.monotonic() - began)


def send_reports(port, paths, began, rate):
    """`rate` a second, or as fast as they are taken when it is 0."""
    client = Client(port)
    client.reply()
    client.ask("EHLO bench.test")
    report = REPORT.format(body="\r\n".join(["x" * 76] * 45)).encode()
    for number, path in enumerate(paths):
        if rate:
            time.sleep(max(0, began + number / rate - time.monotonic()))
        client.send(f"MAIL FROM:<>\r\nRCPT TO:<{path}>\r\nDATA\r\n".encode())
        assert [client.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
        client.send(report)
        assert client.reply().startswith("250")
    client.close()


def delivery_times(stack, seconds):
    """p50 and p99 of accepted-to-delivered, of 20 emails a second."""
    since, sender, until = stack.newest_id(), f"bench@{stack.up['domain']}", time.monotonic() + seconds
    with stack.client() as client:
        while time.monotonic() < until:
            client.sendmail(sender, "delivered@simulator.test", f"From: <{sender}>\r\nSubject: mail\r\n\r\nx\r\n")
            time.sleep(0.05)
    time.sleep(2)
    rows = stack.sql(
        "SELECT extract(epoch FROM max(at) - min(at)) * 1000 FROM activity_statusevent WHERE recipient_id > %s"
        " AND status IN ('accepted', 'delivered') GROUP BY recipient_id HAVING count(*) = 2",
        since,
    )
    times = sorted(float(milliseconds) for (milliseconds,) in rows)
    return f"p50 {statistics.median(times):.0f} ms, p99 {times[int(len(times) * 0.99)]:.0f} ms"


def cpu_seconds(stack):
    """Of the programs that reports keep busy; the machine may be shared, so that rates say less."""
    seconds = {name: sum(stack.program(name).cpu_times()[:2]) for name in ("bounces", "worker")}
    children = stack.program("postgres").children()
    return {**seconds, "postgres": sum(sum(child.cpu_times()[:2]) for child in children)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=5000)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--rate", type=float, default=500, help="reports offered a second; 0: as many as are taken")
    parser.add_argument("--send", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        send_all(*json.load(sys.stdin))
        return
    settings = {"RELAY_SECRET_KEY": SECRET, "RELAY_SIMULATOR_FILES": "0"}
    home = tempfile.TemporaryDirectory(prefix="relay-bench-reports-", ignore_cleanup_errors=True)
    with home as folder, running_stack(Path(folder) / "var", **settings) as stack:
        measure(stack, options)


def measure(stack, options):
    ids = stack.sql(EMAILS, options.reports, stack.up["domain"])
    paths = return_paths(ids, f"bounce.{stack.up['domain']}")
    print(f"mail alone:          {delivery_times(stack, 5)}")
    mail = []
    watching = threading.Thread(target=lambda: mail.append(delivery_times(stack, 5)))
    watching.start()
    used, began = cpu_seconds(stack), time.monotonic()
    work = json.dumps([stack.up["bounces"]["port"], paths, options.sessions, options.rate])
    command = ["nice", "-n", "10", sys.executable, __file__, "--send"]
    said = subprocess.run(command, input=work, capture_output=True, text=True, check=True).stdout
    taken = float(said)
    done = "SELECT count(*) FROM activity_recipient WHERE id = ANY(%s) AND status = 'hard_bounce'"
    while stack.sql(done, [key for (key,) in ids]) != [(len(ids),)] and time.monotonic() - began < 120:
        time.sleep(0.05)
    carried_out = time.monotonic() - began
    used = {name: seconds - used[name] for name, seconds in cpu_seconds(stack).items()}
    watching.join()
    print(f"reports taken:       {len(ids) / taken:.0f}/s")
    print(
        f"reports carried out: {len(ids) / carried_out:.0f}/s, the last one {carried_out - taken:.1f} s after its 250"
    )
    print("CPU a report:        " + ", ".join(f"{name} {1000 * cpu / len(ids):.1f} ms" for name, cpu in used.items()))
    print(f"mail beside them:    {mail[0]}")


if __name__ == "__main__":
    main()
