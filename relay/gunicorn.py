"""gunicorn's configuration: `gunicorn -c python:relay.gunicorn`."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relay.settings")

from django.conf import settings  # noqa: E402 - it reads the variable above

wsgi_app = "relay.wsgi:application"
bind = f"[{settings.BIND}]:{settings.WEB_PORT}" if ":" in settings.BIND else f"{settings.BIND}:{settings.WEB_PORT}"
# One process is enough for pages, and threads share its memory; more machines are the way to more.
workers = 1
worker_class = "gthread"
threads = 8
keepalive = 5
timeout = 60
graceful_timeout = 5
# A worker is renewed now and then, so that no slow leak ever matters.
max_requests = 100_000
max_requests_jitter = 10_000
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108 - the heartbeat needs no disk
control_socket_disable = True
loglevel = "warning"
