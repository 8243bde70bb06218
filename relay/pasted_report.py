"""The operators' page where a bounce is pasted, to see what would be concluded from it and why. Nothing is changed."""

from django.contrib import admin
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from relay.bounces.attribution import recipient_of
from relay.bounces.understanding import understand


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("activity.view_inboundreport", raise_exception=True)
def show(request: HttpRequest) -> HttpResponse:
    raw = request.POST.get("raw", "")
    context = {**admin.site.each_context(request), "title": _("Explain a report"), "raw": raw}
    if raw:
        report = understand(raw.encode("utf-8", "replace"))
        context |= {"report": report, "email": recipient_of(request.POST.get("rcpt_to", ""), report)}
        context["rcpt_to"] = request.POST.get("rcpt_to", "")
    return render(request, "relay/explain_report.html", context)
