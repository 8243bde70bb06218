"""The supervisor, over real processes: restarts, the common end, and what happens when it is killed itself."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from relay.embedded.home import environment_for, only_one, secret_key
from relay.embedded.programs import read_procfile
from tests.waiting import wait_until

PROJECT = Path(__file__).parent.parent

# What `python -m relay.embedded` does, without servers and Django.
SUPERVISE = """
import asyncio, os, signal, sys
from pathlib import Path
from relay.embedded.console import Console
from relay.embedded.guardian import Guardian
from relay.embedded.programs import read_procfile, with_our_python
from relay.embedded.supervisor import Supervisor

async def main():
    guardian = Guardian()
    supervisor = Supervisor(Console(), guardian, with_our_python(os.environ))
    supervisor.keep(*read_procfile(Path(sys.argv[1])))
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, told.set)
    await told.wait()
    await supervisor.stop(patience=float(sys.argv[2]))
    guardian.close()

asyncio.run(main())
"""

SLEEPER = (
    "import pathlib, time, os; pathlib.Path('NAME.pid').write_text(str(os.getpid())); print('up'); time.sleep(600)"
)
DIES = "import pathlib, time; p = pathlib.Path('deaths'); p.open('a').write(f'{time.time()} '); print('bye'); exit(3)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
POLITE = (
    "import pathlib, signal, sys; "
    "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('goodbye').touch(), sys.exit())); " + SLEEPER
)


def parent_of(name, code):
    child = code.replace("NAME", name)
    return f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]); " + SLEEPER


class Supervised:
    def __init__(self, folder, programs, patience):
        self.folder = folder
        lines = [f"{name}: python -c {shlex.quote(code.replace('NAME', name))}" for name, code in programs.items()]
        (folder / "Procfile").write_text("\n".join(["# A comment", "", *lines]) + "\n")
        self.log = folder / "log"
        with self.log.open("wb") as output:
            command = [sys.executable, "-c", SUPERVISE, str(folder / "Procfile"), str(patience)]
            environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
            self.process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, env=environment)

    def pid(self, name):
        file = self.folder / f"{name}.pid"
        wait_until(lambda: file.exists() and file.read_text())
        return int(file.read_text())

    def output(self):
        return self.log.read_text()


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def supervise(tmp_path):
    started = []

    def start(patience=6.0, **programs):
        started.append(Supervised(tmp_path, programs, patience))
        return started[-1]

    yield start
    for supervised in started:
        supervised.process.kill()
        supervised.process.wait()


def test_every_line_of_output_says_whose_it_is(supervise):
    supervised = supervise(web=SLEEPER, worker=SLEEPER)
    wait_until(lambda: supervised.output().count("up") == 2)
    assert sorted(supervised.output().splitlines()) == ["web        | up", "worker     | up"]


def test_a_program_that_dies_is_started_again_after_growing_pauses(supervise):
    supervised = supervise(web=SLEEPER, bad=DIES)
    deaths = supervised.folder / "deaths"
    wait_until(lambda: deaths.exists() and len(deaths.read_text().split()) >= 3)
    first, second, third = map(float, deaths.read_text().split()[:3])
    assert second - first >= 0.5
    assert third - second >= 1.0
    assert "relay      | bad ended with status 3; it starts again in 0.5 s" in supervised.output()
    assert "starts again in 1 s" in supervised.output()
    assert alive(supervised.pid("web"))


def test_a_killed_program_is_replaced_and_the_others_live_on(supervise):
    supervised = supervise(web=SLEEPER, worker=SLEEPER)
    web, worker = supervised.pid("web"), supervised.pid("worker")
    os.kill(web, signal.SIGKILL)
    wait_until(lambda: supervised.pid("web") != web)
    assert supervised.pid("worker") == worker
    assert alive(worker)
    assert "web was ended by SIGKILL" in supervised.output()


def test_what_a_dead_program_left_behind_is_killed_before_it_starts_again(supervise):
    supervised = supervise(parent=parent_of("child", SLEEPER))
    parent, child = supervised.pid("parent"), supervised.pid("child")
    os.kill(parent, signal.SIGKILL)
    wait_until(lambda: supervised.pid("parent") != parent and supervised.pid("child") != child)
    assert not alive(child)


def test_ctrl_c_ends_everything_politely(supervise):
    supervised = supervise(web=POLITE, worker=SLEEPER)
    pids = [supervised.pid("web"), supervised.pid("worker")]
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.process.wait(timeout=8) == 0
    assert not any(map(alive, pids))
    assert (supervised.folder / "goodbye").exists()


def test_a_program_that_ignores_the_request_is_killed(supervise):
    supervised = supervise(patience=0.5, stubborn=STUBBORN, web=SLEEPER)
    pids = [supervised.pid("stubborn"), supervised.pid("web")]
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.process.wait(timeout=8) == 0
    assert not any(map(alive, pids))


def test_ctrl_c_during_a_pause_ends_at_once(supervise):
    supervised = supervise(bad=DIES)
    wait_until(lambda: "starts again in 2 s" in supervised.output())
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.process.wait(timeout=8) == 0


def test_a_killed_supervisor_takes_children_and_grandchildren_along(supervise):
    supervised = supervise(parent=parent_of("child", STUBBORN), stubborn=STUBBORN)
    pids = [supervised.pid(name) for name in ("parent", "child", "stubborn")]
    supervised.process.kill()
    supervised.process.wait()
    wait_until(lambda: not any(map(alive, pids)))


def test_a_killed_guardian_is_replaced_and_knows_what_the_first_knew(supervise):
    supervised = supervise(web=SLEEPER, worker=SLEEPER)
    web, worker = supervised.pid("web"), supervised.pid("worker")
    [guardian] = [
        child for child in psutil.Process(supervised.process.pid).children() if "guardian" in str(child.cmdline())
    ]
    guardian.kill()
    os.kill(web, signal.SIGKILL)  # The next thing the guardian would be told.
    wait_until(lambda: supervised.pid("web") != web)
    new_web = supervised.pid("web")
    wait_until(lambda: "guardian" in str([c.cmdline() for c in psutil.Process(supervised.process.pid).children()]))
    supervised.process.kill()
    supervised.process.wait()
    wait_until(lambda: not alive(worker) and not alive(new_web))


def test_a_long_line_and_strange_bytes_do_not_disturb(supervise):
    strange = "import os, time; os.write(1, b'x' * 300000 + bytes([255, 10]) + b'end'); time.sleep(600)"
    supervised = supervise(strange=strange, web=SLEEPER)
    wait_until(lambda: supervised.output().count("x") >= 300000 and "up" in supervised.output())


def test_a_command_that_does_not_exist_is_told_and_tried_again(supervise, tmp_path):
    supervised = supervise(web=SLEEPER)
    supervised.pid("web")  # Before that it may not listen to Ctrl-C yet.
    supervised.process.send_signal(signal.SIGINT)
    supervised.process.wait(timeout=8)
    (tmp_path / "Procfile").write_text("gone: no-such-program --flag\n")
    with (tmp_path / "log").open("wb") as output:
        command = [sys.executable, "-c", SUPERVISE, "Procfile", "1"]
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=output, stderr=output, env={**os.environ, "PYTHONPATH": str(PROJECT)}
        )
    wait_until(lambda: "gone did not start" in supervised.output() and "again in 1 s" in supervised.output())
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=8) == 0


def test_a_procfile_line_that_is_no_program_is_named(tmp_path):
    (tmp_path / "Procfile").write_text("web: gunicorn\nnonsense\n")
    with pytest.raises(ValueError, match="Procfile:2"):
        read_procfile(tmp_path / "Procfile")


def test_our_procfile_lists_the_processes_of_the_design():
    names = [program.name for program in read_procfile(PROJECT / "Procfile")]
    assert names == ["web", "submission", "bounces", "deliverer", "worker", "beat", "simulator"]


def test_a_home_is_held_by_one_relay_at_a_time(tmp_path):
    refused = pytest.raises(RuntimeError, match=f"already runs on .* \\(pid {os.getpid()}\\)")
    with only_one(tmp_path), refused, only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_the_secret_is_made_once_and_nobody_else_can_read_it(tmp_path):
    first = secret_key(tmp_path)
    assert len(first) >= 64
    assert secret_key(tmp_path) == first
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600


def test_the_demo_reaches_the_simulator_unless_the_operator_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("RELAY_PORT_BASE", "9100")
    environment = environment_for(tmp_path, {"RELAY_RETRY": "1m", "RELAY_GIVE_UP": ""})
    assert environment["RELAY_DEMO"] == "1"
    assert environment["RELAY_SMTP_PORT"] == "9106"
    assert environment["RELAY_DNS"] == "127.0.0.1:9105"
    assert environment["RELAY_RETRY"] == "1m"
    assert environment["RELAY_GIVE_UP"] == "60s"


def test_outside_the_demo_no_setting_is_invented(tmp_path, monkeypatch):
    monkeypatch.setenv("RELAY_DEMO", "0")
    environment = environment_for(tmp_path, {"RELAY_DEMO": "0"})
    assert set(environment) == {"RELAY_DEMO", "RELAY_HOME", "RELAY_SECRET_KEY"}
