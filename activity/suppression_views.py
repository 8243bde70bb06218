"""The Suppressions tab: whom the account does not send to any more, and why; added, imported, exported, removed."""

from collections.abc import Mapping
from contextlib import suppress as ignore
from functools import cached_property
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST, require_safe

from activity import csv_files
from activity.addresses import normalised, well_formed
from activity.models import Recipient, Suppression
from activity.suppress import Cause, Entry, suppress, suppress_all, unsuppress
from activity.suppressed import suppression_of
from activity.views import part_of
from billing.access import MemberRequest, member
from billing.models import Account

PAGE = 50
REMOVALS = 10
CHUNK = 1_000


class Page:
    """At most PAGE entries, newest first, found by walking an index and never counted."""

    def __init__(self, account: Account, query: Mapping[str, str]) -> None:
        self.account = account
        self.search = query.get("q", "").strip().replace("\0", "")[:254]
        self.before: int | None = None
        with ignore(ValueError):
            self.before = min(int(query["before"]), 2**63 - 1) if query.get("before") else None
        found = Suppression.objects.valid().filter(account=account).to_address(self.search).order_by("-id")
        if self.before is not None:
            found = found.filter(id__lt=self.before)
        entries = list(found[: PAGE + 1])
        self.entries = entries[:PAGE]
        self.older = self.entries[-1].id if len(entries) > PAGE else None

    @cached_property
    def emails(self) -> set[UUID]:
        """The emails that caused these entries and can still be looked at."""
        ids = [entry.recipient_id for entry in self.entries if entry.recipient_id]
        return set(Recipient.objects.of(self.account).filter(id__in=ids).values_list("id", flat=True)) if ids else set()


class AddressForm(forms.Form):
    address = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"}),
    )

    def clean_address(self) -> str:
        address = str(self.cleaned_data["address"])
        if not well_formed(address):
            raise forms.ValidationError(gettext_lazy("Enter an address such as marie@example.org."), code="address")
        return normalised(address)


class ImportForm(forms.Form):
    file = forms.FileField(
        label=gettext_lazy("CSV file"),
        help_text=gettext_lazy("One address a line, or a heading line with a column “address”."),
        error_messages={"required": gettext_lazy("Choose a CSV file of at most 5 MB.")},
        widget=forms.FileInput(attrs={"accept": ".csv,.txt,text/csv,text/plain"}),
    )


@require_safe
@member
def suppressions(request: MemberRequest) -> HttpResponse:
    return _page(request, AddressForm())


@require_POST
@member
def add(request: MemberRequest) -> HttpResponse:
    form = AddressForm(request.POST)
    if not form.is_valid():
        return _page(request, form)
    address = form.cleaned_data["address"]
    if suppress(request.account.id, address, Cause.MANUAL):
        messages.success(request, _("We will not send to %(address)s any more.") % {"address": address})
    else:
        messages.info(request, _("%(address)s is on your list already.") % {"address": address})
    return redirect("suppressions:list")


@require_POST
@member
def remove(request: MemberRequest) -> HttpResponse:
    ids = [int(key) for key in request.POST.getlist("entry")[:PAGE] if key.isdecimal() and len(key) < 19]
    removed = unsuppress(request.account, ids, request.user, request.POST.get("reason", "").strip()[:200])
    if removed:
        text = ngettext("%(n)d address removed.", "%(n)d addresses removed.", removed) % {"n": removed}
        messages.success(request, text)
    else:
        messages.error(request, _("Tick the addresses that should be removed."))
    return redirect("suppressions:list")


@require_POST
@member
def unsuppress_email(request: MemberRequest, pk: UUID) -> HttpResponse:
    """The one-click undo on the page of an email: its address may be sent to again."""
    recipient = get_object_or_404(Recipient.objects.of(request.account), pk=pk)
    entry = suppression_of(request.account.id, recipient.address)
    if entry is not None:
        unsuppress(request.account, [entry.id], request.user, _("Undone on the page of an email"))
    messages.success(request, _("You can send to %(address)s again.") % {"address": recipient.address})
    return redirect("activity:email", pk)


@require_POST
@member
def import_file(request: MemberRequest) -> HttpResponse:
    form = ImportForm(request.POST, request.FILES)
    if not form.is_valid():
        return _page(request, AddressForm(), import_form=form)
    try:
        imported = csv_files.read(form.cleaned_data["file"].read(csv_files.MAX_BYTES + 1))
    except csv_files.Unreadable as error:
        form.add_error("file", str(error))
        return _page(request, AddressForm(), import_form=form)
    added = _add_all(request.account, imported)
    result = {"added": added, "known": len(imported.good) - added, "bad": imported.bad, "shown": imported.bad_shown}
    return _page(request, AddressForm(), imported=result)


@transaction.atomic
def _add_all(account: Account, imported: csv_files.Imported) -> int:
    """Sorted as a whole, so that two imports at once never wait for each other crosswise."""
    entries = [Entry(account.id, address, cause) for address, cause in sorted(imported.good.items())]
    return sum(suppress_all(entries[start : start + CHUNK]) for start in range(0, len(entries), CHUNK))


@require_safe
@member
def export_file(request: MemberRequest) -> HttpResponseBase:
    entries = Suppression.objects.valid().filter(account=request.account).order_by("-id")
    response = StreamingHttpResponse(csv_files.write(entries.iterator(CHUNK)), content_type="text/csv; charset=utf-8")
    name = f"suppressions-{timezone.localdate():%Y-%m-%d}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _page(request: MemberRequest, form: AddressForm, **more: object) -> HttpResponse:
    context = {
        "page": Page(request.account, request.GET),
        "form": form,
        "import_form": ImportForm(),
        "removals": request.account.removals.select_related("removed_by").order_by("-id")[:REMOVALS],
        **more,
    }
    return render(request, f"activity/suppressions.html{part_of(request, {'browse'})}", context)
