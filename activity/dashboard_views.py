"""The Dashboard tab."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from activity.dashboard import PERIODS, Dashboard
from activity.views import part_of, unchanged
from billing.access import MemberRequest, member


@require_safe
@member
def dashboard(request: MemberRequest) -> HttpResponse:
    board = Dashboard(request.account, request.GET)
    if unchanged(request, board.version):
        return HttpResponse(status=204)
    context = {"board": board, "periods": PERIODS}
    return render(request, f"activity/dashboard.html{part_of(request, {'figures'})}", context)
