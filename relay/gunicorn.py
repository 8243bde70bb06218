"""Gunicorn's settings for the web process (`gunicorn --config python:relay.gunicorn`)."""

from relay import settings

bind = f"{settings.BIND}:{settings.WEB_PORT}"
wsgi_app = "relay.wsgi"
worker_class = "gthread"
workers = 1
threads = 4
# The parent loads the application and its worker shares those pages.
preload_app = True
control_socket_disable = True
loglevel = "warning"
