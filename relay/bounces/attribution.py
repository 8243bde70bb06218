"""Which email a report is about, and what it may change there: nothing that a report claims is trusted.

The token of the return path decides. A report that came to another address of ours must hold a token, or the id of a
message that had one recipient, in the part it returns. An id that several recipients know proves nothing for any of
them: one could forge a bounce of the other.
"""

from uuid import UUID

from activity.models import InboundReport, Recipient
from activity.outcome import Outcome
from activity.reports import Finding
from activity.slices import floor_id, time_of
from activity.status import Status
from relay import returnpath
from relay.bounces.feedback import NO_BLAME
from relay.bounces.report import Kind, Report, Said
from relay.bounces.understanding import understand

HARDEST_FIRST = (Status.HARD_BOUNCE, Status.SOFT_BOUNCE, Status.DEFERRED, Status.DELIVERED)
KINDS = {
    Status.HARD_BOUNCE: Kind.BOUNCE,
    Status.SOFT_BOUNCE: Kind.BOUNCE,
    Status.DEFERRED: Kind.DELAYED,
    Status.DELIVERED: Kind.RELAYED,
}


class Reading:
    """A report that was read (activity.reports.Reading): raises nothing, what cannot be understood is kept as such."""

    def __init__(self, inbound: InboundReport) -> None:
        self.report = understand(bytes(inbound.raw))
        self.recipient_id = recipient_of(inbound.rcpt_to, self.report)

    def finding(self, address: str) -> Finding:
        said = chosen(self.report, address)
        return Finding(str(_kind(self.report, said)), conclusion(self.report, said), _outcome(self.report, said))


def recipient_of(rcpt_to: str, report: Report) -> UUID | None:
    token = returnpath.recipient_of(rcpt_to.rpartition("@")[0])
    if token is not None:
        return token
    found = {returnpath.recipient_of(path.rpartition("@")[0]) for path in report.return_paths} - {None}
    return found.pop() if len(found) == 1 else _only_recipient(report.message_ids)


def _only_recipient(message_ids: tuple[UUID, ...]) -> UUID | None:
    if len(message_ids) != 1:
        return None
    message = message_ids[0]
    # A recipient's id has the time of its message's: the bound finds the slice.
    nearby = Recipient.objects.filter(
        id__gte=floor_id(time_of(message)), id__lt=UUID(int=(message.int >> 80) + 1 << 80)
    )
    ids = list(nearby.filter(message_id=message).values_list("id", flat=True)[:2])
    return ids[0] if len(ids) == 1 else None


def chosen(report: Report, address: str) -> Said | None:
    """Of several recipients in a report the one we sent to; if it was forwarded, the worst that befell it."""
    wanted = folded(address)
    ours = [said for said in report.recipients if wanted and wanted in (folded(said.address), folded(said.final))]
    return min(ours or report.recipients, key=lambda said: HARDEST_FIRST.index(said.outcome), default=None)


def folded(address: str) -> str:
    """Addresses are compared in any case, without quotes: that is how much servers change on the way."""
    return address.replace('"', "").casefold()


def _kind(report: Report, said: Said | None) -> Kind:
    """What the report is for this one recipient: others in it may have fared differently."""
    if said is None or report.kind not in KINDS.values():
        return report.kind
    return KINDS[said.outcome]


def _outcome(report: Report, said: Said | None) -> Outcome | None:
    if report.kind is Kind.COMPLAINT:
        blames = said is not None and said.reason not in NO_BLAME
        return Outcome(Status.DELIVERED, text=said.diagnostic if said else "") if blames else None
    if said is not None:
        return Outcome(said.outcome, said.reason, "", said.code, said.status, said.diagnostic, said.host)
    return Outcome(Status.DELIVERED, text=report.explanation) if report.kind is Kind.AUTO_REPLY else None


def conclusion(report: Report, said: Said | None) -> str:
    kind = report.kind.capitalize().replace("_", " ")
    if said is None:
        return f"{kind}: {report.explanation or 'nobody is named'}."
    outcome = str(said.outcome.label) if report.kind is not Kind.COMPLAINT else ""
    words = filter(None, [outcome, said.reason, said.status, said.diagnostic])
    return f"{kind}: {said.address or said.final or 'nobody named'}: {', '.join(words)}."
