"""Brings an installation up to date before its programs start: ports, certificate, checks, tables, static files.

Run as `python -m relay.embedded.prepare`, in a process of its own so that the supervisor stays small.
"""

import hashlib
import io
import os
import socket
import sys
import time

import django
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import CommandError, call_command

from relay.embedded.certificate import ensure_certificate

PORT_SECONDS = 3.0  # A run that was killed a moment ago still closes its own.


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relay.settings")
    django.setup()
    try:
        await_free_ports()
        if settings.DEMO and settings.TLS_CERTIFICATE.parent == settings.HOME / "tls":
            ensure_certificate(settings.TLS_CERTIFICATE, settings.TLS_KEY, settings.HOSTNAME)
        call_command("check", stdout=io.StringIO())
        call_command("migrate", interactive=False, verbosity=0)
        collect_static_files()
    except CommandError as error:
        sys.exit(str(error))


def await_free_ports() -> None:
    ports = [settings.WEB_PORT, settings.SUBMISSION_PORT, settings.SUBMISSION_TLS_PORT, settings.SUBMISSION_PLAIN_PORT]
    ports += [settings.BOUNCES_PORT]
    if settings.DEMO:
        ports += [settings.SIMULATOR_DNS_PORT, settings.SIMULATOR_PORT]
    deadline = time.monotonic() + PORT_SECONDS
    while taken := [str(port) for port in ports if port and not is_free(port)]:
        if time.monotonic() > deadline:
            raise CommandError(
                f"Port {', '.join(taken)} on {settings.BIND} is in use by another program: stop it, or set "
                f"RELAY_PORT_BASE (now {settings.PORT_BASE}) to move all ports together."
            )
        time.sleep(0.1)


def is_free(port: int) -> bool:
    family = socket.AF_INET6 if ":" in settings.BIND else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.BIND, port))
        except OSError:
            return False
    return True


def collect_static_files() -> None:
    """Skipped while no source file has changed: hashing and compressing them takes longer than all else at a start."""
    stamp = settings.STATIC_ROOT / ".sources"
    seen = hashlib.sha256(django.get_version().encode())
    for finder in get_finders():
        for path, storage in finder.list([]):
            seen.update(f"{path} {storage.size(path)} {storage.get_modified_time(path)}\n".encode())
    if stamp.exists() and stamp.read_text() == seen.hexdigest():
        return
    call_command("collectstatic", interactive=False, verbosity=0)
    stamp.write_text(seen.hexdigest())


if __name__ == "__main__":
    main()
