"""Rows for tests, as plain functions: each makes what it needs and takes fields by name."""

import datetime as dt
import itertools
from functools import cache
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from uuid_utils.compat import uuid7

from activity.arrival import destination_of, recipient_id_for
from activity.models import Message, Recipient, StatusEvent
from activity.record import record_reports
from activity.status import WAITING, Status
from billing.models import Account, Membership, Plan, User
from domains.keys import make_private_key
from domains.models import DkimKey, Domain, LoginEvent, SmtpCredential

numbers = itertools.count(1)

# The way an email went to reach a status; (status, reason, code, enhanced, reply) of each line.
WAYS = {
    Status.REJECTED: [
        ("rejected", "unauthenticated_domain", 550, "5.7.1", "550 5.7.1 boutlque.example is not validated")
    ],
    Status.ACCEPTED: [("accepted", "", 250, "2.0.0", "")],
    Status.PENDING: [("accepted", "", 250, "2.0.0", ""), ("pending", "", 0, "", "")],
}
WAYS[Status.DELIVERED] = [*WAYS[Status.PENDING], ("delivered", "", 250, "2.0.0", "OK 1732312931 queued as 4XyZ12")]
WAYS[Status.DEFERRED] = [
    *WAYS[Status.PENDING],
    ("deferred", "greylisted", 451, "4.7.1", "Greylisted, try again in 300 seconds"),
]
WAYS[Status.SOFT_BOUNCE] = [
    *WAYS[Status.DEFERRED],
    ("soft_bounce", "mailbox_full", 552, "5.2.2", "Mailbox full, quota exceeded"),
]
WAYS[Status.HARD_BOUNCE] = [*WAYS[Status.PENDING], ("hard_bounce", "unknown_user", 550, "5.1.1", "No such user here")]


def make_user(email=None, password=None, **fields):
    """Hashing a password is slow, so only a test that types it in gives one."""
    return User.objects.create_user(email or f"user{next(numbers)}@example.com", password, **fields)


def make_plan(**fields):
    return Plan.objects.create(**{"name": f"Plan {next(numbers)}", "monthly_quota": 10_000, **fields})


def make_account(*members, **fields):
    """The first member owns it."""
    if "plan" not in fields:
        fields["plan"] = make_plan()
    account = Account.objects.create(**{"name": f"Account {next(numbers)}", "time_zone": "America/Toronto", **fields})
    for number, user in enumerate(members):
        role = Membership.Role.MEMBER if number else Membership.Role.OWNER
        Membership.objects.create(account=account, user=user, role=role)
    return account


def make_domain(account, name="boutique.example", validated=True, **fields):
    """Its keys are made only when a test signs: they are slow."""
    fields.setdefault("validated_at", timezone.now() if validated else None)
    return Domain.objects.create(account=account, name=name, **fields)


@cache
def private_key_of(number):
    """Making one is slow, and most tests do not look at it."""
    return make_private_key()


def make_keys(domain):
    """Both keys of a domain, seen in DNS if it is validated; the first one signs."""
    seen_at = domain.validated_at
    for slot in DkimKey.Slot:
        values = {"active": slot == DkimKey.Slot.ONE, "private_key": private_key_of(slot)}
        DkimKey.objects.create(domain=domain, slot=slot, seen_at=seen_at, usable_at=seen_at, **values)


def make_credential(account, name="shop-web", **fields):
    """The credential and its secret."""
    credential = SmtpCredential(account=account, name=name, **fields)
    secret = credential.reset_secret()
    credential.save()
    return credential, secret


def make_login(credential, address, result, **fields):
    return LoginEvent.objects.create(
        credential=credential, username=credential.username, address=address, result=result, **fields
    )


def id_at(moment):
    """A UUIDv7 as it would have been made at `moment`."""
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | (uuid7().int & ((1 << 80) - 1)))


def make_message(account, at=None, **fields):
    values = {
        "mail_from": "shop@boutique.example",
        "header_from": "shop@boutique.example",
        "subject": "Your receipt for order 48213",
        "header_id": f"20261122.{next(numbers)}@boutique.example",
        "size": 18_204,
        "client": "203.0.113.20 (shop-web)",
        **fields,
    }
    return Message.objects.create(id=id_at(at or timezone.now()), account=account, **values)


def make_email(
    account,
    address="marie.tremblay@example.org",
    status=Status.DELIVERED,
    *,
    message=None,
    reason=None,
    at=None,
    **fields,
):
    """One recipient with the whole history that leads to `status`; other fields are the message's."""
    message = message or make_message(account, at, **fields)
    way = list(WAYS[Status(status)])
    if reason is not None:
        way[-1] = (way[-1][0], reason, *way[-1][2:])
    waits = status in WAITING
    recipient = Recipient.objects.create(
        id=recipient_id_for(message.id),
        message_id=message.id,
        account=account,
        address=address,
        domain=destination_of(address),
        status=status,
        reason=way[-1][1],
        reply=way[-1][4],
        attempt=sum(line[0] not in ("accepted", "pending", "rejected") for line in way),
        next_attempt_at=timezone.now() + dt.timedelta(minutes=5) if waits else None,
        give_up_at=message.at + dt.timedelta(hours=48) if status != Status.REJECTED else None,
    )
    for number, line in enumerate(way):
        make_event(recipient, *line, at=message.at + dt.timedelta(seconds=number * 0.7), attempt=max(0, number - 1))
    return recipient


def make_event(recipient, status, reason="", code=0, enhanced="", reply="", *, at=None, **fields):
    """One line of history; an attempt's line names the server that answered."""
    if status not in ("accepted", "pending", "rejected", ""):
        server = {"host": f"mx1.{recipient.domain}", "ip": "203.0.113.8", "stage": "rcpt", "tls": "TLSv1.3"}
        fields = {**server, **fields}
    return StatusEvent.objects.create(
        recipient_id=recipient.id,
        at=at or timezone.now(),
        status=status,
        reason=reason,
        code=code,
        enhanced=enhanced,
        reply=reply,
        **fields,
    )


@transaction.atomic
def record_report(recipient_id, outcome, at):
    """A non-delivery notification about one email; whether it changed its status."""
    return bool(record_reports({recipient_id: (outcome, at)}))
