"""Addresses of the Domains tab and of the Set-up page."""

from django.urls import path

from domains import demo_views, setup, shared_views, views

app_name = "domains"
urlpatterns = [
    path("", views.domains, name="list"),
    path("add/", views.add_domain, name="add"),
    path("find/", views.find_domain, name="find"),
    path("<int:pk>/", views.domain, name="domain"),
    path("<int:pk>/check/", views.check_domain, name="check"),
    path("<int:pk>/label/", views.change_label, name="label"),
    path("<int:pk>/rotate/", views.rotate_keys, name="rotate"),
    path("<int:pk>/remove/", views.remove_domain, name="remove"),
    path("<int:pk>/share/", shared_views.share, name="share"),
    path("<int:pk>/unshare/", shared_views.unshare, name="unshare"),
    path("<int:pk>/demo/publish/", demo_views.publish, name="demo_publish"),
    path("<int:pk>/demo/<str:key>/remove/", demo_views.remove, name="demo_remove"),
    path("<int:pk>/demo/claim/", demo_views.claim, name="demo_claim"),
    path("shared/<str:token>/", shared_views.shared, name="shared"),
    path("shared/<str:token>/check/", shared_views.shared_check, name="shared_check"),
]

setup_urlpatterns = [
    path("", setup.show, name="show"),
    path("credentials/", setup.make_credential, name="make_credential"),
    path("credentials/<int:pk>/log/", setup.credential_log, name="credential_log"),
    path("credentials/<int:pk>/reset/", setup.reset_credential, name="reset_credential"),
    path("credentials/<int:pk>/dsn/", setup.switch_dsn, name="switch_dsn"),
    path("credentials/<int:pk>/revoke/", setup.revoke_credential, name="revoke_credential"),
]
