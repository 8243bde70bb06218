"""The whole product as a customer meets it: programs we did not write send, and one watches what becomes of it."""

import json
import os
import shutil
import signal
import smtplib
import ssl
import subprocess
import time
import urllib.request
from email.message import EmailMessage
from email.utils import make_msgid

import dns.resolver
import psutil
import pytest
from playwright.sync_api import expect, sync_playwright

from tests.stack import running_stack
from tests.test_browser import ARGUMENTS, CHROMIUM

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def swaks_speaks_tls():
    swaks = shutil.which("swaks", path=PATH)
    return swaks and b"TLS supported" in subprocess.run([swaks, "--support"], capture_output=True).stdout


needs_swaks = pytest.mark.skipif(not swaks_speaks_tls(), reason="needs swaks with TLS (Net::SSLeay)")
needs_opendkim = pytest.mark.skipif(not shutil.which("opendkim", path=PATH), reason="needs opendkim")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with running_stack(tmp_path_factory.mktemp("end") / "var") as running:
        yield running


def history_of(stack, address, subject):
    rows = stack.sql(
        "SELECT e.status, e.reply FROM activity_statusevent e JOIN activity_recipient r ON r.id = e.recipient_id"
        " JOIN activity_message m ON m.id = r.message_id WHERE r.address = %s AND m.subject = %s ORDER BY e.at, e.id",
        address,
        subject,
    )
    return [status for status, _ in rows], [reply for _, reply in rows]


def wait_for_history(stack, address, subject, wanted, seconds=30):
    deadline = time.monotonic() + seconds
    while (found := history_of(stack, address, subject))[0] != wanted:
        assert time.monotonic() < deadline, f"{found[0]} is not {wanted}"
        time.sleep(0.05)
    return found[1]


def received(stack, message_id, seconds=10):
    """The bytes as the simulator took them: (content, envelope)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for envelope in (stack.home / "simulator").glob("*.json"):
            content = envelope.with_suffix(".eml").read_bytes()
            if message_id.encode() in content:
                return content, json.loads(envelope.read_text())
        time.sleep(0.1)
    raise AssertionError(f"{message_id} has not been received")


def message(stack, to, subject):
    made = EmailMessage()
    made["From"] = f"Boutique <shop@{stack.up['domain']}>"
    made["To"] = to
    made["Subject"] = subject
    made["Message-ID"] = make_msgid(domain=stack.up["domain"])
    made["Date"] = "Sun, 22 Nov 2026 14:00:00 +0000"
    made.set_content("Your receipt.\n.a line with a dot\n\nThank you – merci\n")
    return made


def logged_in(stack):
    submission = stack.up["submission"]
    context = ssl.create_default_context(cafile=str(stack.home / "tls" / "certificate.pem"))
    client = smtplib.SMTP_SSL(submission["host"], submission["tls_port"], context=context, timeout=30)
    client.login(submission["username"], submission["password"])
    return client


@needs_swaks
def test_what_swaks_sends_over_starttls_is_delivered_with_the_servers_own_reply(stack):
    submission = stack.up["submission"]
    command = ["swaks", "--server", f"{submission['host']}:{submission['port']}", "--tls", "--auth", "PLAIN"]
    command += ["--auth-user", submission["username"], "--auth-password", submission["password"]]
    command += ["--from", f"shop@{stack.up['domain']}", "--to", "delivered+swaks@simulator.test"]
    done = subprocess.run([*command, "--h-Subject", "By swaks"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    replies = wait_for_history(
        stack, "delivered+swaks@simulator.test", "By swaks", ["accepted", "pending", "delivered"]
    )
    assert "Taken" in replies[-1]


def test_what_pythons_smtplib_sends_over_tls_is_delivered_byte_for_byte(stack):
    sent = message(stack, "delivered+python@simulator.test", "By smtplib")
    with logged_in(stack) as client:
        client.send_message(sent)
    wait_for_history(stack, "delivered+python@simulator.test", "By smtplib", ["accepted", "pending", "delivered"])
    content, envelope = received(stack, sent["Message-ID"])
    assert content.endswith(sent.as_bytes(policy=sent.policy.clone(linesep="\r\n", cte_type="8bit")))
    added = content.partition(b"From: Boutique")[0]
    assert added.startswith(b"DKIM-Signature:")
    assert b"\r\nReceived: " in added
    assert envelope["recipients"] == ["delivered+python@simulator.test"]
    assert envelope["sender"].startswith("b+")


@needs_opendkim
def test_the_signature_verifies_with_opendkim_against_the_key_in_dns(stack, tmp_path):
    sent = message(stack, "delivered+dkim@simulator.test", "Signed")
    with logged_in(stack) as client:
        client.send_message(sent)
    content, _ = received(stack, sent["Message-ID"])
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [stack.up["dns"]["host"]], stack.up["dns"]["port"]
    name = f"r1._domainkey.{stack.up['domain']}"
    (key,) = resolver.resolve(name, "TXT")
    (tmp_path / "dns").write_text(f"{name} {b''.join(key.strings).decode()}\n")
    (tmp_path / "conf").write_text(f"Mode v\nTestDNSData file:{tmp_path / 'dns'}\nSyslog no\n")
    for file, bytes_, wanted in (
        ("good", content, "succeeded"),
        ("bad", content.replace(b"receipt", b"invoice"), "failed"),
    ):
        (tmp_path / file).write_bytes(bytes_)
        command = ["opendkim", "-x", str(tmp_path / "conf"), "-t", str(tmp_path / file), "-v"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "PATH": PATH})
        assert f"d={stack.up['domain']}, 2048-bit key" in done.stdout + done.stderr
        assert wanted in done.stdout + done.stderr


def test_every_final_status_of_the_demo_is_there_within_a_minute_a_late_bounce_included(stack):
    deadline = time.monotonic() + 60
    wanted = {"rejected", "delivered", "deferred", "soft_bounce", "hard_bounce"}
    seen = set()
    while not wanted <= seen:
        seen |= set(stack.statuses())
        assert time.monotonic() < deadline, f"only {seen}"
        time.sleep(0.1)
    late = "SELECT count(*) FROM activity_recipient WHERE address LIKE 'late-bounce%%' AND status = 'hard_bounce'"
    while stack.sql(late) == [(0,)]:
        assert time.monotonic() < deadline, "no late bounce"
        time.sleep(0.1)


@pytest.mark.parametrize("name", ["submission", "bounces", "deliverer"])
def test_a_program_with_many_connections_may_open_more_files_than_systems_allow_at_first(stack, name):
    now, most = psutil.Process(stack.program(name).pid).rlimit(psutil.RLIMIT_NOFILE)
    assert now == min(most, 65_536) > 1024


def test_up_json_is_complete_and_private(stack):
    assert (stack.home / "up.json").stat().st_mode & 0o777 == 0o600
    keys = {"web", "submission", "bounces", "dns", "simulator", "login", "database_url", "redis_url", "domain"}
    assert keys <= stack.up.keys()
    with urllib.request.urlopen(f"{stack.up['web']}/healthz", timeout=10) as response:
        assert response.status == 200


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium")
def test_one_sends_a_test_email_and_watches_it_turn_delivered_without_reloading(stack):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        page = browser.new_context(base_url=stack.up["web"]).new_page()
        page.goto("/set-up/")
        page.get_by_label("Email").fill(stack.up["login"]["email"])
        page.get_by_label("Password").fill(stack.up["login"]["password"])
        page.get_by_role("button", name="Log in").click()
        loads = []
        page.on("load", lambda _: loads.append(page.url))
        page.goto("/set-up/")
        page.get_by_label("Send it to").fill("slow+watched@simulator.test")
        page.get_by_role("button", name="Send").click()
        page.wait_for_url("**/activity/*/")
        first = len(loads)
        expect(page.get_by_role("main")).to_contain_text("Delivered", timeout=20_000)
        assert len(loads) <= first + 1, "the page must not reload to show the new status"
        browser.close()


def processes_of(home):
    found = []
    for process in psutil.process_iter():
        try:
            if str(home) in " ".join(process.cmdline()) or process.environ().get("RELAY_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_ctrl_c_ends_everything_and_leaves_no_process_and_no_stale_file(tmp_path):
    home = tmp_path / "var"
    with running_stack(home) as stack:
        assert len(processes_of(home)) > 10
        stack.process.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert stack.process.wait(15) == 0
        print(f"ended in {time.monotonic() - started:.1f} s")
        deadline = time.monotonic() + 5
        while processes_of(home) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not processes_of(home)
        left = [
            path for path in home.rglob("*") if path.suffix in (".pid", ".sock") or path.name.startswith(".s.PGSQL")
        ]
        assert not left
        assert not (home / "up.json").exists()


def test_after_kill_9_of_everything_it_comes_up_with_its_data(tmp_path):
    home = tmp_path / "var"
    with running_stack(home) as stack:
        emails = stack.sql("SELECT count(*) FROM activity_recipient")
        secret = stack.up["submission"]["password"]
        for process in processes_of(home):
            process.kill()
        stack.process.wait(10)
    with running_stack(home) as again:
        assert again.sql("SELECT count(*) FROM activity_recipient") == emails
        assert again.up["submission"]["password"] == secret
        with logged_in(again) as client:
            client.send_message(message(again, "delivered+again@simulator.test", "Again"))
        wait_for_history(again, "delivered+again@simulator.test", "Again", ["accepted", "pending", "delivered"])
