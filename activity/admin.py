"""Mail, suppressions and reports, for operators: read-only, and fast however many rows there are."""

from typing import Any, ClassVar, cast
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.html import format_html

from activity.acquaintances import Acquaintance
from activity.addresses import normalised
from activity.figures import Rollup, RollupHour, RollupMark
from activity.models import (
    DestinationRule,
    InboundReport,
    Message,
    MessageContent,
    OwedDsn,
    Recipient,
    StatusEvent,
    Suppression,
    SuppressionRemoval,
)
from activity.retry_now import MOST, retry_now
from activity.status import Status

SHOWN_OF_REPORT = 100_000


class NewestPaginator(Paginator):
    """Offers the newest rows only: counting stops at LIMIT, so no page counts a mail table."""

    LIMIT = 2_000

    @cached_property
    def count(self) -> int:
        rows = cast(QuerySet[Any], self.object_list)
        return len(rows.order_by().values_list("pk")[: self.LIMIT])


def as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text.strip())
    except ValueError:
        return None


class MailAdmin(admin.ModelAdmin):
    """Only accept, claim and record write mail. A search is for one whole id, by an index."""

    ordering: ClassVar[tuple[str, ...]] = ("-id",)
    paginator = NewestPaginator
    show_full_result_count = False
    list_per_page = 50
    # Shows the search field; get_search_results does without Django's lookups, which would read every row.
    search_fields: ClassVar[tuple[str, ...]] = ("id",)
    searched_ids: tuple[str, ...] = ("id",)

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[Any],
        search_term: str,
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term.strip():
            return queryset, False
        key = as_uuid(search_term)
        if key is None:
            return self.search_text(queryset, search_term.strip()), False
        found = queryset.none()
        for field in self.searched_ids:
            found = found | queryset.filter(**{field: key})
        return found, False

    def search_text(self, queryset: QuerySet[Any], text: str) -> QuerySet[Any]:  # noqa: ARG002
        return queryset.none()

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False


@admin.register(Recipient)
class RecipientAdmin(MailAdmin):
    list_display = ("at", "address", "status", "reason", "account", "attempt", "next_attempt_at")
    list_display_links = ("at", "address")
    list_select_related = ("account",)
    search_help_text = "A whole address, the id of an email, or a destination domain for all that still waits"
    actions = ("retry",)

    def search_text(self, queryset: QuerySet[Recipient], text: str) -> QuerySet[Recipient]:
        if "@" in text:
            return queryset.filter(address__iexact=text)
        return queryset.filter(domain=text.lower(), next_attempt_at__isnull=False)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("activity.change_recipient")

    @admin.action(description="Retry now what is Deferred", permissions=["retry"])
    def retry(self, request: HttpRequest, recipients: QuerySet[Recipient]) -> None:
        ids = list(recipients.filter(status=Status.DEFERRED).values_list("id", flat=True)[:MOST])
        asked = retry_now(ids, "an operator")
        self.message_user(request, f"{asked} due now; the others are final, under way, or due already.")


@admin.register(Message)
class MessageAdmin(MailAdmin):
    list_display = ("at", "header_from", "subject", "account", "size", "client")
    list_display_links = ("at", "subject")
    list_select_related = ("account",)
    search_help_text = "The id of a message"


@admin.register(MessageContent)
class MessageContentAdmin(MailAdmin):
    """What customers wrote is theirs: the admin only shows that it is there."""

    fields = ("id",)
    search_help_text = "The id of a message"

    def get_queryset(self, request: HttpRequest) -> QuerySet[MessageContent]:
        return super().get_queryset(request).defer("body")


@admin.register(StatusEvent)
class StatusEventAdmin(MailAdmin):
    """Found by their email's id, for the table's key begins with it; a single line has no page of its own."""

    list_display = ("at", "recipient_id", "status", "reason", "code", "enhanced", "reply", "host", "attempt")
    list_display_links = None
    ordering = ("-recipient_id", "-id")
    searched_ids = ("recipient_id",)
    search_help_text = "The id of an email"

    def get_object(self, *_args: Any, **_kwargs: Any) -> None:
        return None


@admin.register(Acquaintance)
class AcquaintanceAdmin(MailAdmin):
    list_display = ("domain", "last_delivered_on")
    ordering = ("domain",)
    search_help_text = "A whole destination domain"

    def search_text(self, queryset: QuerySet[Acquaintance], text: str) -> QuerySet[Acquaintance]:
        return queryset.filter(domain=text.lower())


class UnsettledFilter(admin.SimpleListFilter):
    """What an operator has to look at; each answer walks an index of its own."""

    title = "what came of it"
    parameter_name = "settled"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [("other", "Not understood"), ("waiting", "Waiting")]

    def queryset(self, _request: HttpRequest, reports: QuerySet[InboundReport]) -> QuerySet[InboundReport]:
        match self.value():
            case "other":
                return reports.filter(kind="other")
            case "waiting":
                return reports.filter(understood_at=None)
        return reports


@admin.register(InboundReport)
class InboundReportAdmin(MailAdmin):
    list_display = ("at", "kind", "rcpt_to", "recipient_id", "understood_at", "conclusion")
    list_display_links = ("at",)
    list_filter = (UnsettledFilter,)
    exclude = ("raw",)
    readonly_fields = ("text",)
    search_help_text = "The id of a report"
    actions = ("again",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[InboundReport]:
        return super().get_queryset(request).defer("raw")

    @admin.display(description="The report")
    def text(self, report: InboundReport) -> str:
        """As it came, as far as it fits on a page."""
        words = bytes(report.raw[:SHOWN_OF_REPORT]).decode("utf-8", "replace").replace("\0", "\ufffd")
        more = len(report.raw) - SHOWN_OF_REPORT
        return format_html("<pre>{}</pre>{}", words, f"and {more} bytes more" if more > 0 else "")

    def has_again_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("activity.change_inboundreport")

    @admin.action(description="Understand again", permissions=["again"])
    def again(self, request: HttpRequest, reports: QuerySet[InboundReport]) -> None:
        """What was carried out before is not carried out twice."""
        asked = InboundReport.objects.filter(id__in=reports.values("id")[:MOST]).update(understood_at=None)
        self.message_user(request, f"{asked} will be understood again within the minute.")


@admin.register(Suppression)
class SuppressionAdmin(admin.ModelAdmin):
    list_display = ("id", "address", "cause", "account", "created_at")
    list_display_links = ("id", "address")
    list_select_related = ("account",)
    search_fields = ("=address", "=account__id")
    raw_id_fields = ("account",)
    readonly_fields = ("recipient_id", "created_at")
    ordering = ("-id",)
    paginator = NewestPaginator
    show_full_result_count = False


@admin.register(DestinationRule)
class DestinationRuleAdmin(admin.ModelAdmin):
    list_display = (
        "name",
        "domains",
        "mx_suffixes",
        "connections",
        "messages_per_connection",
        "messages_a_minute",
        "paused_at",
    )
    search_fields = ("name", "note")


@admin.register(SuppressionRemoval)
class SuppressionRemovalAdmin(MailAdmin):
    list_display = ("removed_at", "address", "cause", "account", "removed_by", "reason")
    list_display_links = ("removed_at", "address")
    list_select_related = ("account", "removed_by")
    search_help_text = "A whole address"

    def search_text(self, queryset: QuerySet[SuppressionRemoval], text: str) -> QuerySet[SuppressionRemoval]:
        return queryset.filter(address=normalised(text))


@admin.register(Rollup)
class RollupAdmin(MailAdmin):
    list_display = ("hour", "account", "status", "emails")
    list_select_related = ("account",)
    search_fields = ()


@admin.register(RollupHour)
class RollupHourAdmin(MailAdmin):
    list_display = ("hour", "counted_at", "waiting")
    ordering = ("-hour",)
    search_fields = ()


@admin.register(RollupMark)
class RollupMarkAdmin(MailAdmin):
    list_display = ("hour",)
    search_fields = ()


@admin.register(OwedDsn)
class OwedDsnAdmin(MailAdmin):
    list_display = ("recipient_id",)
    ordering = ("recipient_id",)
    searched_ids = ("recipient_id",)
