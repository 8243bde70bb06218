"""Nothing that got 250 is lost: each program is killed under load, and every email still reaches a final status."""

import smtplib
import threading
import time
from collections import Counter

import pytest
import redis

from tests.stack import running_stack

MESSAGES = 1000
SESSIONS = 10


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    settings = {"RELAY_RETRY": "1s,1s,2s,2s,5s", "RELAY_GIVE_UP": "10m", "RELAY_SIMULATOR_FILES": "0"}
    with running_stack(tmp_path_factory.mktemp("kills") / "var", RELAY_LOG_LEVEL="INFO", **settings) as running:
        yield running


class Load(threading.Thread):
    """Sends its share through the plain listener; counts only what got 250, and sends again what did not."""

    def __init__(self, stack, prefix, number):
        super().__init__(daemon=True)
        self.stack, self.prefix, self.number = stack, prefix, number
        self.accepted = []

    def run(self):
        sender = f"load@{self.stack.up['domain']}"
        client = None
        left = [f"delivered+{self.prefix}-{n}@simulator.test" for n in range(self.number)]
        deadline = time.monotonic() + 120
        while left and time.monotonic() < deadline:
            try:
                client = client or self.stack.client()
                client.sendmail(sender, left[-1], f"From: <{sender}>\r\nSubject: load\r\n\r\n{'x' * 1000}\r\n")
                self.accepted.append(left.pop())
            except (smtplib.SMTPException, OSError):
                client = None
                time.sleep(0.1)


def send_while(stack, name, *faults):
    """1,000 messages, with the faults spread over their sending; the addresses that got 250."""
    since = stack.newest_id()
    loads = [Load(stack, f"{name}{n}", MESSAGES // SESSIONS) for n in range(SESSIONS)]
    for load in loads:
        load.start()
    for fault in faults:
        time.sleep(0.4)
        fault()
    for load in loads:
        load.join(150)
    return since, [address for load in loads for address in load.accepted]


def received_by_simulator(stack):
    """How often each address was taken: the simulator tells every message in its log."""
    lines = (stack.home / "log").read_text(errors="replace").splitlines()
    return Counter(line.partition(" to=<")[2].partition(">")[0] for line in lines if " received " in line)


def every_accepted_email_is_delivered(stack, since, accepted):
    deadline = time.monotonic() + 120
    while True:
        statuses = stack.statuses(since)
        waiting = sum(statuses.get(status, 0) for status in ("accepted", "pending", "deferred"))
        if not waiting:
            break
        assert time.monotonic() < deadline, f"still waiting: {statuses}"
        time.sleep(0.25)
    rows = stack.sql("SELECT address, status FROM activity_recipient WHERE id > %s", since)
    delivered = {address for address, status in rows if status == "delivered"}
    received = received_by_simulator(stack)
    assert len(accepted) == MESSAGES
    assert set(accepted) <= delivered
    assert all(received[address] for address in accepted), "delivered by the books, but never received"
    # An address sent again after a lost 250 is two emails; what one email brought twice is a duplicate.
    emails = Counter(address for address, _ in rows)
    twice = sum(received[address] - emails[address] for address in emails if received[address] > emails[address])
    ((again,),) = stack.sql("SELECT count(*) FROM activity_recipient WHERE id > %s AND attempt > 1", since)
    print(f"accepted {len(accepted)}, tried again {again}, received twice {twice}")
    return twice


@pytest.mark.parametrize("program", ["submission", "deliverer", "worker", "beat", "valkey", "postgres"])
def test_a_killed_program_loses_no_email(stack, program):
    since, accepted = send_while(stack, program, lambda: stack.kill(program))
    twice = every_accepted_email_is_delivered(stack, since, accepted)
    # In flight at one moment: a transaction a connection, and as many outcomes that were not written yet.
    in_flight = {"deliverer": 2 * 5 + 10, "postgres": 2 * 5 + 10}.get(program, 0)
    assert twice <= in_flight


def test_a_deliverer_that_is_asked_to_stop_in_full_flow_ends_in_seconds_and_sends_nothing_twice(stack):
    seconds = []

    def stop():
        deliverer, began = stack.program("deliverer"), time.monotonic()
        deliverer.terminate()
        deliverer.wait(20)
        seconds.append(time.monotonic() - began)

    since, accepted = send_while(stack, "stop", stop)
    assert every_accepted_email_is_delivered(stack, since, accepted) == 0
    assert seconds[0] < 5


def test_an_emptied_valkey_loses_no_email(stack):
    def flush():
        redis.Redis.from_url(stack.up["redis_url"]).flushall()

    since, accepted = send_while(stack, "flush", flush, flush, flush)
    assert every_accepted_email_is_delivered(stack, since, accepted) == 0


def test_mail_flows_while_beat_and_valkey_are_gone(stack):
    """For 20 seconds: whatever the supervisor starts again is killed again."""
    ended = threading.Event()

    def keep_killed():
        until = time.monotonic() + 20
        while time.monotonic() < until:
            for name in ("valkey", "beat"):
                found = stack.program(name)
                if found is not None:
                    found.kill()
            time.sleep(0.05)
        ended.set()

    since, accepted = send_while(stack, "gone", threading.Thread(target=keep_killed, daemon=True).start)
    deadline = time.monotonic() + 19
    while not ended.is_set() and time.monotonic() < deadline and stack.statuses(since).get("delivered", 0) < MESSAGES:
        time.sleep(0.2)
    assert stack.statuses(since).get("delivered", 0) == MESSAGES, "mail must flow without Valkey and beat"
    ended.wait(30)
    assert every_accepted_email_is_delivered(stack, since, accepted) == 0
