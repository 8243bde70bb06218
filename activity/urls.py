"""Addresses of the Activity tab."""

from django.urls import path

from activity import views

app_name = "activity"
urlpatterns = [
    path("", views.emails, name="list"),
    path("<uuid:pk>/", views.email, name="email"),
]
