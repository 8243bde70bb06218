"""The Activity tab: the list of emails, and one email with its history."""

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from activity.listing import Page, Search
from activity.models import Recipient
from activity.retry_now import retry_now
from activity.status import Status
from activity.story import Story
from billing.access import MemberRequest, member
from domains.samples import first_samples

PARTS = {"emails", "browse"}
# The order of the chips: what people look for most comes first.
CHIPS = (
    Status.DELIVERED,
    Status.DEFERRED,
    Status.PENDING,
    Status.ACCEPTED,
    Status.SOFT_BOUNCE,
    Status.HARD_BOUNCE,
    Status.REJECTED,
)


def part_of(request: MemberRequest, parts: set[str]) -> str:
    """`#name` of the part of the page that HTMX asks for; empty for the whole page."""
    target = request.htmx.target or ""
    return f"#{target}" if request.htmx and not request.htmx.history_restore_request and target in parts else ""


def unchanged(request: MemberRequest, version: str) -> bool:
    """A part that refreshes itself says what it shows; 204 leaves it, its focus and its selection alone."""
    return bool(request.htmx) and request.GET.get("seen") == version


@require_safe
@member
def emails(request: MemberRequest) -> HttpResponse:
    page = Page(request.account, Search.of(request.GET))
    if unchanged(request, page.version):
        return HttpResponse(status=204)
    part = part_of(request, PARTS)
    context = {"page": page, "search": page.search, "chips": CHIPS, "today": timezone.localdate()}
    if not page.recipients and not page.search.narrows:
        context["samples"] = first_samples(request.account)
    return render(request, f"activity/list.html{part}", context)


@require_safe
@member
def email(request: MemberRequest, pk: UUID) -> HttpResponse:
    recipient = get_object_or_404(Recipient.objects.of(request.account), pk=pk)
    story = Story(recipient)
    if unchanged(request, story.version):
        return HttpResponse(status=204)
    part = part_of(request, {"email"})
    return render(request, f"activity/email.html{part}", {"story": story, "recipient": recipient})


@require_POST
@member
def retry_email(request: MemberRequest, pk: UUID) -> HttpResponse:
    """The email's page as it is afterwards; one that is under way or final stays as it was."""
    recipient = get_object_or_404(Recipient.objects.of(request.account), pk=pk)
    retry_now([recipient.pk], request.user.email)
    part = part_of(request, {"email"})
    if not part:
        return redirect("activity:email", pk)
    recipient.refresh_from_db()
    return render(request, f"activity/email.html{part}", {"story": Story(recipient), "recipient": recipient})
