"""A pytest plugin that gives each test process its own PostgreSQL, Valkey and home before Django's settings are read.

A conftest would be too late: pytest-django reads the settings before it. pyproject.toml names the plugin by `-p`.
"""

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from relay.embedded.servers import servers


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config, parser, args):
    for name in [name for name in os.environ if name.startswith("RELAY_") and name != "RELAY_CI"]:
        del os.environ[name]  # A developer's own settings are not the tests'.
    os.environ["RELAY_SECRET_KEY"] = "only-for-tests-" * 4
    os.environ["RELAY_ZONE"] = "relay.test"
    options = early_config.known_args_namespace
    distributes = getattr(options, "numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ
    if not (distributes or options.collectonly or options.help or options.version):
        start_servers(early_config)
    return (yield)


def start_servers(config):
    stack = ExitStack()
    config.add_cleanup(stack.close)
    home = Path(tempfile.mkdtemp(prefix="relay-test-"))
    stack.callback(shutil.rmtree, home, ignore_errors=True)
    running = stack.enter_context(servers(home, durable=False))
    os.environ.update(RELAY_HOME=str(home), DATABASE_URL=running.database_url, REDIS_URL=running.redis_url)
