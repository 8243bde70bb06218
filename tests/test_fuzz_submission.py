"""A short run of the fuzzer; by hand it runs longer."""

import json
import subprocess
import sys

from tests.stack import ROOT

MEGABYTE = 1 << 20


def test_a_bounded_run_finds_no_crash_no_hang_and_no_growth():
    command = [sys.executable, "tests/fuzz_submission.py", "--seconds", "12"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-6_000:]
    figures = json.loads(done.stdout)
    print(figures)
    assert figures["inputs"] > 500
    assert figures["grown_bytes"] < 64 * MEGABYTE
