"""Addresses of every page."""

from allauth.account import views as account
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from activity.urls import dashboard_urlpatterns, suppression_urlpatterns
from domains.urls import setup_urlpatterns
from relay import lanes, pasted_report, views

# Here and not when Django starts: only the web process needs the admin in its memory.
admin.autodiscover()

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="activity:list"), name="home"),
    path("activity/", include("activity.urls")),
    path("dashboard/", include((dashboard_urlpatterns, "dashboard"))),
    path("suppressions/", include((suppression_urlpatterns, "suppressions"))),
    path("domains/", include("domains.urls")),
    path("set-up/", include((setup_urlpatterns, "setup"))),
    path("set-up/test-email/", views.send_test_email, name="test_email"),
    path("", include("billing.urls")),
    # allauth has many more pages; these are the ones that work here.
    path("log-in/", account.login, name="account_login"),
    path("log-out/", account.logout, name="account_logout"),
    path("password/", account.password_change, name="account_change_password"),
    path("inactive/", account.account_inactive, name="account_inactive"),
    path("admin/lanes/", admin.site.admin_view(lanes.show), name="lanes"),
    path("admin/explain-report/", admin.site.admin_view(pasted_report.show), name="explain_report"),
    path("admin/", admin.site.urls),
    path("healthz", views.healthz, name="healthz"),
]
