"""Mail, suppressions and reports, for operators: read-only, and fast however many rows there are."""

from typing import Any, ClassVar, cast
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from activity.models import InboundReport, Message, MessageContent, Recipient, StatusEvent, Suppression


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
    search_help_text = "A whole address, or the id of an email"

    def search_text(self, queryset: QuerySet[Recipient], text: str) -> QuerySet[Recipient]:
        return queryset.filter(address__iexact=text)


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


@admin.register(InboundReport)
class InboundReportAdmin(MailAdmin):
    list_display = ("at", "kind", "rcpt_to", "recipient_id", "understood_at", "conclusion")
    list_display_links = ("at",)
    exclude = ("raw",)
    search_help_text = "The id of a report"


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
