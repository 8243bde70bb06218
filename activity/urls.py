"""Addresses of the Dashboard, Activity and Suppressions tabs."""

from django.urls import path

from activity import dashboard_views, suppression_views, views

app_name = "activity"
urlpatterns = [
    path("", views.emails, name="list"),
    path("<uuid:pk>/", views.email, name="email"),
    path("<uuid:pk>/retry/", views.retry_email, name="retry"),
    path("<uuid:pk>/unsuppress/", suppression_views.unsuppress_email, name="unsuppress"),
]
dashboard_urlpatterns = [path("", dashboard_views.dashboard, name="show")]
suppression_urlpatterns = [
    path("", suppression_views.suppressions, name="list"),
    path("add/", suppression_views.add, name="add"),
    path("remove/", suppression_views.remove, name="remove"),
    path("import/", suppression_views.import_file, name="import"),
    path("export.csv", suppression_views.export_file, name="export"),
]
