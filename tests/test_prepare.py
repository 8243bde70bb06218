"""What happens before the programs start: free ports, a certificate, static files only when they changed."""

import socket
import ssl

import pytest
from django.core.management import CommandError

from relay.embedded import prepare
from relay.embedded.certificate import ensure_certificate


def test_the_certificate_fits_its_key_and_is_made_once(tmp_path):
    certificate, key = tmp_path / "tls" / "certificate.pem", tmp_path / "tls" / "key.pem"
    ensure_certificate(certificate, key, "smtp.relay.test")
    first = certificate.read_bytes()
    ensure_certificate(certificate, key, "smtp.relay.test")
    assert certificate.read_bytes() == first
    assert key.stat().st_mode & 0o777 == 0o600
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=certificate)
    server.load_cert_chain(certificate, key)
    for name in ("smtp.relay.test", "localhost", "127.0.0.1"):
        handshake(server, client, name)


def handshake(server, client, name):
    """Raises ssl.SSLError if the certificate is not valid for `name`."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


def test_a_port_in_use_is_named_with_the_way_out(settings, monkeypatch):
    monkeypatch.setattr(prepare, "PORT_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings.WEB_PORT = other.getsockname()[1]
        with pytest.raises(CommandError, match=f"{settings.WEB_PORT}.*RELAY_PORT_BASE"):
            prepare.await_free_ports()


def test_static_files_are_collected_only_when_they_changed(settings, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "one.css").write_text("a {}")
    settings.STATICFILES_DIRS, settings.STATIC_ROOT = [source], tmp_path / "static"
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    prepare.collect_static_files()
    collected = settings.STATIC_ROOT / "one.css"
    collected.unlink()
    prepare.collect_static_files()
    assert not collected.exists()
    (source / "one.css").write_text("a { color: red }")
    prepare.collect_static_files()
    assert collected.read_text() == "a { color: red }"
