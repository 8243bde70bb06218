"""PostgreSQL and Valkey from their wheels: they start, keep data, and leave nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil
import psycopg
import pytest
import redis

from relay.embedded.servers import servers, socket_folder
from tests.waiting import wait_until

OWNER = """
import sys, time
from pathlib import Path
from relay.embedded.servers import servers
with servers(Path(sys.argv[1]), durable=False) as running:
    print(running.database_url, flush=True)
    time.sleep(600)
"""


def processes_of(folder):
    """The living programs whose command line names `folder`."""
    return [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline", "status"])
        if str(folder) in " ".join(process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def query(url, statement):
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else None


def test_both_servers_take_data_and_leave_no_process_and_no_file(tmp_path):
    with servers(tmp_path) as running:
        assert query(running.database_url, "SHOW server_version")[0].startswith("18")
        assert query(running.database_url, "SHOW fsync") == ("on",)
        assert query(running.database_url, "SHOW synchronous_commit") == ("on",)
        assert query(running.database_url, "SHOW listen_addresses") == ("",)
        client = redis.Redis.from_url(running.redis_url)
        client.set("key", "value")
        assert client.get("key") == b"value"
        client.close()
        assert processes_of(tmp_path)
    assert not processes_of(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"postgres", "postgres.log", "valkey.log"}
    assert not (tmp_path / "postgres" / "postmaster.pid").exists()


def test_text_is_unicode_and_sorts_the_same_everywhere(tmp_path):
    with servers(tmp_path, durable=False) as running:
        assert query(running.database_url, "SHOW server_encoding") == ("UTF8",)
        assert query(running.database_url, "SELECT lower('ÄÖ'), 'a' > 'Z'") == ("äö", True)


def test_an_open_session_does_not_delay_the_stop(tmp_path):
    with servers(tmp_path, durable=False) as running:
        connection = psycopg.connect(running.database_url)
        connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    assert not processes_of(tmp_path)


def test_a_killed_owner_leaves_no_process_and_the_next_start_has_its_data(tmp_path):
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
    url = owner.stdout.readline().strip()
    query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    owner.kill()
    owner.communicate()
    wait_until(lambda: not processes_of(tmp_path))
    with servers(tmp_path, durable=False) as running:
        assert query(running.database_url, "SELECT answer FROM kept") == (42,)


def test_a_start_right_after_a_kill_waits_for_the_old_server(tmp_path):
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
    owner.stdout.readline()
    owner.kill()
    with servers(tmp_path, durable=False) as running:
        assert query(running.database_url, "SELECT 1") == (1,)
    owner.communicate()


def test_a_killed_postgres_starts_again_with_its_data(tmp_path):
    with servers(tmp_path, durable=False) as running:
        query(running.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        pid = int((tmp_path / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(processes_of(tmp_path / "postgres")) == 0)
    assert (tmp_path / "postgres" / "postmaster.pid").exists()
    with servers(tmp_path, durable=False) as running:
        assert query(running.database_url, "SELECT answer FROM kept") == (42,)


@pytest.mark.parametrize("first_line", ["", "not a pid", str(os.getppid()), "zombie"])
def test_a_stale_pid_file_does_not_stop_postgres(tmp_path, first_line):
    with servers(tmp_path, durable=False):
        lines = (tmp_path / "postgres" / "postmaster.pid").read_text().splitlines()
    dead = subprocess.Popen(["true"])
    wait_until(lambda: psutil.Process(dead.pid).status() == psutil.STATUS_ZOMBIE)
    first = str(dead.pid) if first_line == "zombie" else first_line
    (tmp_path / "postgres" / "postmaster.pid").write_text("\n".join([first, *lines[1:], ""]) if first else "")
    with servers(tmp_path, durable=False) as running:
        assert query(running.database_url, "SELECT 1") == (1,)
    dead.wait()


def test_an_interrupted_first_start_is_made_good(tmp_path):
    (tmp_path / "postgres.new" / "base").mkdir(parents=True)
    with servers(tmp_path, durable=False) as running:
        assert query(running.database_url, "SELECT 1") == (1,)
    assert not (tmp_path / "postgres.new").exists()


@pytest.mark.parametrize("name", ["a long name " * 10, "a, comma"])
def test_a_home_whose_path_no_socket_can_have_gets_a_short_socket_folder(tmp_path, name):
    home = tmp_path / name / "var"
    with servers(home, durable=False) as running:
        assert query(running.database_url, "SELECT 1") == (1,)
        assert redis.Redis.from_url(running.redis_url).ping()
        sockets = Path(unquote(urlsplit(running.database_url).netloc).partition("@")[2])
        assert sockets.stat().st_mode & 0o777 == 0o700
        assert not sockets.is_relative_to(home)
    assert not sockets.exists()


def test_a_home_with_blanks_and_quotes_works(tmp_path):
    with servers(tmp_path / """it's "my" home""", durable=False) as running:
        assert query(running.database_url, "SELECT 1") == (1,)
        assert redis.Redis.from_url(running.redis_url).ping()


def test_a_socket_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RuntimeError, match="not a folder of ours"), socket_folder(tmp_path):
        pass


def test_nobody_else_can_reach_the_sockets(tmp_path):
    with socket_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user to fall back to")
def test_root_without_user_namespaces_runs_postgres_as_another_user(tmp_path, monkeypatch):
    from relay.embedded import postgres

    real_run = subprocess.run

    def refuse_namespaces(command, *arguments, **options):
        return real_run(["false"] if command[0] == "unshare" else command, *arguments, **options)

    monkeypatch.setattr(postgres.subprocess, "run", refuse_namespaces)
    postgres.unprivileged.cache_clear()
    try:
        (tmp_path / "closed").mkdir(mode=0o700)
        with servers(tmp_path / "closed" / "home", durable=False) as running:
            assert query(running.database_url, "SELECT 1") == (1,)
            pid = int((tmp_path / "closed" / "home" / "postgres" / "postmaster.pid").read_text().splitlines()[0])
            assert psutil.Process(pid).uids().real == postgres.NOBODY
    finally:
        postgres.unprivileged.cache_clear()
