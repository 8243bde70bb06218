"""Addresses of the account menu."""

from django.urls import path

from billing import views

app_name = "billing"
urlpatterns = [
    path("accounts/<int:pk>/switch/", views.switch_account, name="switch_account"),
    path("theme/", views.switch_theme, name="switch_theme"),
]
