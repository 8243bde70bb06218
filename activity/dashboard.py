"""What the Dashboard shows: emails by status and day as figures and bars, from the rollups, and the latest events."""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from django.db.models import Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from activity.advice import reason_label
from activity.models import Recipient, Rollup, StatusEvent
from activity.status import BOUNCES, WAITING, Status
from billing.models import Account

PERIODS = (7, 30)
EVENTS = 10
# The event looked for is one of the newest emails of some status, but for mail that bounces after days in a crowd.
CANDIDATES = 20
TILES = (
    Status.DELIVERED,
    Status.SOFT_BOUNCE,
    Status.HARD_BOUNCE,
    Status.DEFERRED,
    Status.PENDING,
    Status.ACCEPTED,
    Status.REJECTED,
)
FINAL = BOUNCES | {Status.DELIVERED}
# Units of the chart's own, which is stretched to its place on the page.
HEIGHT, STEP, BAR = 100.0, 10.0, 7.0


@dataclass(slots=True)
class Figures:
    """Emails by status; rates are percentages of the emails whose status is final and was a delivery or a bounce."""

    counts: dict[Status, int] = field(default_factory=dict)

    def of(self, *statuses: Status) -> int:
        return sum(self.counts.get(status, 0) for status in statuses)

    def rate(self, status: Status) -> float | None:
        """To one decimal, and neither 0 nor 100 unless it is exactly that; None while nothing is final."""
        part, whole = self.of(status), self.of(*FINAL)
        if not whole:
            return None
        if part in (0, whole):
            return 100.0 * part / whole
        return min(99.9, max(0.1, round(100 * part / whole, 1)))

    @property
    def emails(self) -> int:
        return self.of(*Status)

    @property
    def sent(self) -> int:
        return self.emails - self.rejected

    @property
    def delivered(self) -> int:
        return self.of(Status.DELIVERED)

    @property
    def soft(self) -> int:
        return self.of(Status.SOFT_BOUNCE)

    @property
    def hard(self) -> int:
        return self.of(Status.HARD_BOUNCE)

    @property
    def waiting(self) -> int:
        return self.of(*WAITING)

    @property
    def rejected(self) -> int:
        return self.of(Status.REJECTED)

    @property
    def delivery_rate(self) -> float | None:
        return self.rate(Status.DELIVERED)

    @property
    def soft_rate(self) -> float | None:
        return self.rate(Status.SOFT_BOUNCE)

    @property
    def hard_rate(self) -> float | None:
        return self.rate(Status.HARD_BOUNCE)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a bar, measured from the top left corner of the chart; `state` gives its colour."""

    state: str
    x: float
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Day:
    date: dt.date
    figures: Figures
    segments: list[Segment]


@dataclass(frozen=True, slots=True)
class Tile:
    status: Status
    emails: int
    rate: float | None


class Dashboard:
    """Days are those of the account's time zone; an hour belongs to the day in which it begins."""

    def __init__(self, account: Account, query: Mapping[str, str]) -> None:
        self.account = account
        asked = query.get("days", "")
        self.days_shown = next((days for days in PERIODS if str(days) == asked), PERIODS[0])
        self.today = timezone.localdate(timezone=account.tzinfo)

    @cached_property
    def by_day(self) -> dict[dt.date, Figures]:
        """Every day of the period, the oldest first."""
        zone = self.account.tzinfo
        dates = [self.today - dt.timedelta(days=n) for n in reversed(range(self.days_shown))]
        found = {date: Figures() for date in dates}
        start = dt.datetime.combine(dates[0], dt.time(), zone)
        rows = Rollup.objects.filter(account=self.account, hour__gte=start).annotate(day=TruncDate("hour", tzinfo=zone))
        for day, status, emails in rows.values_list("day", "status").annotate(Sum("emails")):
            if day in found and status in Status:
                found[day].counts[Status(status)] = emails
        return found

    @cached_property
    def total(self) -> Figures:
        counts = {status: sum(figures.of(status) for figures in self.by_day.values()) for status in Status}
        return Figures(counts)

    @property
    def tiles(self) -> list[Tile]:
        total = self.total
        return [Tile(each, total.of(each), total.rate(each) if each in FINAL else None) for each in TILES]

    @cached_property
    def most(self) -> int:
        """The top of the chart: the busiest day."""
        return max(figures.sent for figures in self.by_day.values())

    @cached_property
    def days(self) -> list[Day]:
        return [
            Day(date, figures, self._bar(number, figures)) for number, (date, figures) in enumerate(self.by_day.items())
        ]

    @property
    def newest_first(self) -> list[Day]:
        return self.days[::-1]

    @property
    def width(self) -> float:
        return STEP * self.days_shown

    def _bar(self, number: int, figures: Figures) -> list[Segment]:
        """From the ground up: delivered, on their way, soft and hard bounces."""
        pieces = (
            (Status.DELIVERED, figures.delivered),
            (Status.PENDING, figures.waiting),
            (Status.SOFT_BOUNCE, figures.soft),
            (Status.HARD_BOUNCE, figures.hard),
        )
        segments, top = [], HEIGHT
        for status, emails in pieces:
            if emails:
                height = HEIGHT * emails / self.most
                top -= height
                segments.append(
                    Segment(status.value, number * STEP + (STEP - BAR) / 2, round(top, 3), round(height, 3))
                )
        return segments

    @cached_property
    def events(self) -> list["Event"]:
        """The last things that happened to emails, the latest first."""
        newest = [Recipient.objects.of(self.account).with_status(status)[:CANDIDATES] for status in Status]
        emails = {email.id: email for email in newest[0].union(*newest[1:], all=True)}
        if not emails:
            return []
        events = StatusEvent.objects.filter(recipient_id__in=emails, recipient_id__gte=min(emails))
        return [Event(event, emails[event.recipient_id]) for event in events.order_by("-at", "-id")[:EVENTS]]

    @cached_property
    def version(self) -> str:
        facts = repr((self.today, self.by_day, [event.event.id for event in self.events]))
        return hashlib.blake2s(facts.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Event:
    event: StatusEvent
    email: Recipient

    @property
    def at(self) -> dt.datetime:
        return timezone.localtime(self.event.at)

    @property
    def state(self) -> str:
        return self.event.status or "note"

    @property
    def reason(self) -> str:
        return reason_label(self.event.reason)
