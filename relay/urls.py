"""Addresses of every page."""

from allauth.account import views as account
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from domains.urls import setup_urlpatterns
from relay import lanes, views

# Here and not when Django starts: only the web process needs the admin in its memory.
admin.autodiscover()

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="activity:list"), name="home"),
    path("activity/", include("activity.urls")),
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
    path("admin/", admin.site.urls),
    path("healthz", views.healthz, name="healthz"),
]
