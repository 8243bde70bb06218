"""What every test shares. The servers are started earlier, by tests/session.py."""

import os

import pytest
from django.conf import settings
from django.test import override_settings

# Continuous integration has every program the tests need, so that there a missing one is a failure.
NOTHING_IS_MISSING = bool(os.environ.get("RELAY_CI"))


@pytest.fixture(scope="session", autouse=True)
def plain_static_files():
    """Pages name static files without the manifest that only `collectstatic` makes."""
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with override_settings(STORAGES={**settings.STORAGES, "staticfiles": plain}):
        yield


def fail_if_something_is_missing(report):
    """Turns a skip whose reason begins with "needs " into a failure where nothing may be missing."""
    if not (NOTHING_IS_MISSING and report.skipped and isinstance(report.longrepr, tuple)):
        return
    path, line, reason = report.longrepr
    if reason.removeprefix("Skipped: ").startswith("needs "):
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    fail_if_something_is_missing(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    fail_if_something_is_missing(report)
    return report
