"""Gunicorn's settings for the web process (`gunicorn --config python:relay.gunicorn`)."""

import gc
from typing import Any

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


def pre_fork(_server: Any, _worker: Any) -> None:
    """All that pages need is loaded before the fork, and the garbage collector leaves it shared."""
    from django.urls import get_resolver

    get_resolver().check()
    gc.freeze()
