"""Sending domains, their keys and credentials, for operators; no secret and no private key is ever shown."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from domains.models import DemoRecord, DkimKey, Domain, DomainEvent, LoginEvent, SmtpCredential
from domains.networks import NetworksForm


@admin.register(Domain)
class DomainAdmin(admin.ModelAdmin):
    list_display = ("id", "name", "account", "validated_at", "checked_at")
    list_display_links = ("id", "name")
    list_select_related = ("account",)
    list_filter = (("validated_at", admin.EmptyFieldListFilter),)
    search_fields = ("=id", "name", "=token", "=account__id")
    raw_id_fields = ("account",)
    readonly_fields = ("token", "found", "advice", "checked_at", "created_at")
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(DkimKey)
class DkimKeyAdmin(admin.ModelAdmin):
    """Read-only: a key is made with its domain, and which one signs is a step of rotation."""

    list_display = ("id", "domain", "slot", "active", "created_at")
    list_select_related = ("domain",)
    search_fields = ("=id", "=domain__name")
    fields = ("domain", "slot", "active", "txt", "created_at")
    readonly_fields = fields
    ordering = ("-id",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False


@admin.register(DomainEvent)
class DomainEventAdmin(admin.ModelAdmin):
    """The histories of domains, read-only."""

    list_display = ("id", "at", "domain", "kind", "by")
    list_select_related = ("domain",)
    list_filter = ("kind",)
    search_fields = ("=domain__id", "=domain__name")
    ordering = ("-id",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: DomainEvent | None = None) -> bool:  # noqa: ARG002
        return False


@admin.register(DemoRecord)
class DemoRecordAdmin(admin.ModelAdmin):
    """What the demo's customers entered in its DNS; empty everywhere else."""

    list_display = ("name", "type", "value", "domain")
    list_select_related = ("domain",)
    raw_id_fields = ("domain",)
    ordering = ("name",)


@admin.register(SmtpCredential)
class SmtpCredentialAdmin(admin.ModelAdmin):
    """Customers make credentials and see their secrets; operators bind networks and revoke."""

    form = NetworksForm
    list_display = ("id", "name", "username", "account", "domain", "last_used_at", "revoked_at")
    list_display_links = ("id", "name")
    list_select_related = ("account", "domain")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("=id", "=username", "name", "=account__id")
    raw_id_fields = ("account", "domain")
    readonly_fields = ("username", "created_at", "last_used_at")
    ordering = ("-id",)
    actions = ("revoke",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    @admin.action(description=_("Revoke: it cannot log in any more"))
    def revoke(self, request: HttpRequest, credentials: QuerySet[SmtpCredential]) -> None:
        changed = credentials.filter(revoked_at=None).update(revoked_at=timezone.now())
        self.message_user(request, _("%(n)d revoked.") % {"n": changed})


@admin.register(LoginEvent)
class LoginEventAdmin(admin.ModelAdmin):
    """The log-in log, read-only."""

    list_display = ("id", "at", "username", "address", "result", "count")
    list_filter = ("result",)
    search_fields = ("=username", "=address")
    ordering = ("-id",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: LoginEvent | None = None) -> bool:  # noqa: ARG002
        return False
