"""Addresses of the Domains tab and of the Set-up page."""

from django.urls import path

from domains import setup, views

app_name = "domains"
urlpatterns = [
    path("", views.domains, name="list"),
    path("add/", views.add_domain, name="add"),
    path("<int:pk>/", views.domain, name="domain"),
    path("<int:pk>/check/", views.check_domain, name="check"),
]

setup_urlpatterns = [
    path("", setup.show, name="show"),
    path("credentials/", setup.make_credential, name="make_credential"),
    path("credentials/<int:pk>/log/", setup.credential_log, name="credential_log"),
    path("credentials/<int:pk>/reset/", setup.reset_credential, name="reset_credential"),
    path("credentials/<int:pk>/dsn/", setup.switch_dsn, name="switch_dsn"),
    path("credentials/<int:pk>/revoke/", setup.revoke_credential, name="revoke_credential"),
]
