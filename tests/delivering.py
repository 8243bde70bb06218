"""Runs the delivery engine beside a test, against a simulator of its own."""

import contextlib
import threading
import time

import uvloop
from django.test import override_settings

from activity.models import MessageContent, Recipient, StatusEvent
from activity.status import WAITING
from relay.delivery.engine import Engine
from relay.simulator.server import Simulator
from tests.factories import make_email
from tests.mail_world import running

BODY = (
    b"From: shop@boutique.example\r\nTo: x@dest.test\r\nSubject: Hello\r\nMessage-ID: <%b@x>\r\n\r\nHello\r\n.dot\r\n"
)


@contextlib.contextmanager
def engine_running():
    engine = Engine()
    thread = threading.Thread(target=lambda: uvloop.run(engine.run()), daemon=True)
    thread.start()
    assert engine.started.wait(10)
    try:
        yield engine
    finally:
        engine.stop()
        thread.join(15)
        assert not thread.is_alive(), "the engine did not stop"


@contextlib.contextmanager
def simulated(behave=None, **options):
    """A simulator that takes everything for dest.test, as the only route there is."""
    simulator = Simulator("dest.test", behave=behave, domains=("simulator.test",), **options)
    with running(simulator), override_settings(ROUTES={"*": ("127.0.0.1", simulator.port)}, PRIVATE_MX=True):
        yield simulator


def accepted_email(domain, address="x@dest.test", body=None, **fields):
    """An accepted email of `domain`'s account that is due now."""
    email = make_email(domain.account, address, "accepted", domain_id=domain.id, **fields)
    MessageContent.objects.create(id=email.message_id, body=body or BODY % email.id.hex.encode())
    Recipient.objects.filter(id=email.id).update(next_attempt_at=email.at)
    return email


def wait_until(condition, seconds=15.0, what="it"):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds} s"
        time.sleep(0.02)


def wait_until_final(*emails, seconds=15.0):
    ids = [email.id for email in emails]
    waiting = Recipient.objects.filter(id__in=ids, status__in=WAITING)
    wait_until(lambda: not waiting.exists(), seconds, "a final status")
    for email in emails:
        email.refresh_from_db()


def history(email):
    """The statuses of an email's story, in order."""
    events = StatusEvent.objects.filter(recipient_id=email.id).order_by("at", "id")
    return [event.status for event in events]


def lines(email, status):
    return list(StatusEvent.objects.filter(recipient_id=email.id, status=status).order_by("at", "id"))


def short_retries(*steps):
    return override_settings(RETRY=list(steps or (0.2, 0.2, 0.2, 0.2)))
