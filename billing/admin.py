"""Users, accounts and plans, for operators."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing.models import Account, Membership, Plan, Usage, User


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    list_display = ("email", "name", "is_active", "is_staff", "last_login")
    list_filter = ("is_staff", "is_active")
    search_fields = ("email", "name")
    ordering = ("-id",)
    add_form = AdminUserCreationForm
    fieldsets = (
        (None, {"fields": ("email", "name", "password")}),
        (_("Rights"), {"fields": ("is_active", "is_staff", "is_superuser", "groups")}),
        (_("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "name", "usable_password", "password1", "password2")}),)
    filter_horizontal = ("groups",)
    readonly_fields = ("last_login", "date_joined")
    show_full_result_count = False


class MembershipInline(admin.TabularInline):
    model = Membership
    raw_id_fields = ("user",)
    extra = 0


@admin.register(Account)
class AccountAdmin(admin.ModelAdmin):
    list_display = ("id", "name", "plan", "time_zone", "suspended_at", "created_at")
    list_display_links = ("id", "name")
    list_select_related = ("plan",)
    list_filter = ("plan", ("suspended_at", admin.EmptyFieldListFilter))
    search_fields = ("=id", "name", "=members__email", "=domains__name")
    ordering = ("-id",)
    readonly_fields = ("created_at",)
    inlines = (MembershipInline,)
    actions = ("suspend", "resume")
    show_full_result_count = False

    @admin.action(description=_("Suspend: refuse their mail from now on"))
    def suspend(self, request: HttpRequest, accounts: QuerySet[Account]) -> None:
        changed = accounts.filter(suspended_at=None).update(suspended_at=timezone.now())
        self.message_user(request, _("%(n)d suspended.") % {"n": changed})

    @admin.action(description=_("End the suspension"))
    def resume(self, request: HttpRequest, accounts: QuerySet[Account]) -> None:
        changed = accounts.exclude(suspended_at=None).update(suspended_at=None)
        self.message_user(request, _("%(n)d may send again.") % {"n": changed})


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin):
    list_display = ("id", "account", "user", "role")
    list_select_related = ("account", "user")
    list_filter = ("role",)
    search_fields = ("=user__email", "=account__id", "account__name")
    raw_id_fields = ("account", "user")
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(Plan)
class PlanAdmin(admin.ModelAdmin):
    list_display = ("name", "monthly_quota", "history_days", "retry_schedule", "give_up_hours")
    search_fields = ("name",)
    ordering = ("monthly_quota",)


@admin.register(Usage)
class UsageAdmin(admin.ModelAdmin):
    """Spent by accept alone; an operator who wants to give more changes the plan."""

    list_display = ("id", "account", "period", "used")
    list_select_related = ("account",)
    search_fields = ("=account__id", "account__name")
    raw_id_fields = ("account",)
    readonly_fields = ("account", "period", "used")
    ordering = ("-id",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest, *_args: Any) -> bool:  # noqa: ARG002
        return False
