"""The rows one accept transaction writes, table by table, in the order of COPY's columns."""

import datetime as dt
from typing import Any

from psycopg.types.json import Jsonb
from uuid_utils.compat import uuid7

from activity.arrival import Arrival, Refusal, destination_of, recipient_id_for
from activity.status import Status
from activity.text import clean, one_line

# table → (column, PostgreSQL type); a test holds them equal to the models.
COLUMNS = {
    "activity_message": (
        ("id", "uuid"),
        ("account_id", "int8"),
        ("credential_id", "int8"),
        ("domain_id", "int8"),
        ("mail_from", "text"),
        ("header_from", "text"),
        ("subject", "text"),
        ("header_id", "text"),
        ("size", "int4"),
        ("smtputf8", "bool"),
        ("client", "text"),
        ("tag", "text"),
        ("metadata", "jsonb"),
    ),
    "activity_messagecontent": (("id", "uuid"), ("body", "bytea")),
    "activity_recipient": (
        ("id", "uuid"),
        ("message_id", "uuid"),
        ("account_id", "int8"),
        ("address", "text"),
        ("domain", "text"),
        ("status", "varchar"),
        ("reason", "varchar"),
        ("reply", "text"),
        ("attempt", "int2"),
        ("next_attempt_at", "timestamptz"),
        ("give_up_at", "timestamptz"),
    ),
    "activity_statusevent": (
        ("id", "uuid"),
        ("recipient_id", "uuid"),
        ("at", "timestamptz"),
        ("status", "varchar"),
        ("reason", "varchar"),
        ("stage", "varchar"),
        ("code", "int2"),
        ("enhanced", "varchar"),
        ("reply", "text"),
        ("host", "text"),
        ("ip", "inet"),
        ("tls", "text"),
        ("attempt", "int2"),
        ("next_attempt_at", "timestamptz"),
        ("note", "text"),
    ),
}


class Batch:
    """The rows of one transaction, table by table."""

    def __init__(self, now: dt.datetime) -> None:
        self.now = now
        self.rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in COLUMNS}
        self.spent: dict[int, int] = {}
        self.domains: set[str] = set()

    def add(self, arrival: Arrival, refusal: Refusal | None, give_up: dt.timedelta) -> None:
        """`give_up` is how long after now its attempts end."""
        refused = list(arrival.refused)
        if refusal is not None:
            recorded = arrival.recordable(len(arrival.recipients))
            refused += [(address, refusal) for address in arrival.recipients[:recorded]]
        taken = refusal is None and bool(arrival.recipients)
        if refused or taken:
            self._message(arrival)
        for address, each in refused:
            self._recipient(arrival, address, each, give_up)
        if not taken:
            return
        self.rows["activity_messagecontent"].append((arrival.id, arrival.read_body()))
        for address in arrival.recipients:
            self._recipient(arrival, address, None, give_up)
        self.spent[arrival.account_id] = self.spent.get(arrival.account_id, 0) + len(arrival.recipients)

    def _message(self, arrival: Arrival) -> None:
        self.rows["activity_message"].append(
            (
                arrival.id,
                arrival.account_id,
                arrival.credential_id,
                arrival.domain_id,
                clean(arrival.mail_from),
                one_line(arrival.header_from),
                one_line(arrival.subject),
                one_line(arrival.header_id),
                arrival.size,
                arrival.smtputf8,
                one_line(arrival.client),
                one_line(arrival.tag, 100),
                Jsonb({one_line(key, 100): one_line(value, 500) for key, value in arrival.metadata.items()}),
            )
        )

    def _recipient(self, arrival: Arrival, address: str, refusal: Refusal | None, give_up: dt.timedelta) -> None:
        key = recipient_id_for(arrival.id)
        status, reason, reply, code, enhanced, stage = Status.ACCEPTED.value, "", "", 250, "2.0.0", "end_of_data"
        due: dt.datetime | None = self.now
        give_up_at: dt.datetime | None = self.now + give_up
        if refusal is not None:
            status, reason, reply = Status.REJECTED.value, str(refusal.reason), one_line(refusal.reply)
            code, enhanced, stage = refusal.code, refusal.enhanced, refusal.stage
            due = give_up_at = None
        else:
            self.domains.add(destination_of(address))
        address = clean(address)
        self.rows["activity_recipient"].append(
            (
                key,
                arrival.id,
                arrival.account_id,
                address,
                destination_of(address),
                status,
                reason,
                reply,
                0,
                due,
                give_up_at,
            )
        )
        self.rows["activity_statusevent"].append(
            (uuid7(), key, self.now, status, reason, stage, code, enhanced, reply, "", None, "", 0, None, "")
        )
