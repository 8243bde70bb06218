"""How well real reports are understood, scored on collections of other projects (read in place, not copied).

The figures are printed twice: for the two thirds of the files that were looked at while the rules were written, and for
the third that was not. A file belongs to a third by a checksum of its name.
"""

import json
import zlib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from activity.status import BOUNCES, Status
from relay.bounces.understanding import understand

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
NOBODY = {"feedback", "vacation", "delivered"}
# Rows that contradict the table of replies, another row or their own text; each with the reason.
CONTRADICTED = {
    "rb-issue-368-bug.eml": "in a folder for no bounces, but says that the mailbox is full and the email was discarded",
}

pytestmark = pytest.mark.skipif(not CORPORA.is_dir(), reason="needs ../shared/corpora")


def rows_of(name):
    lines = (CORPORA / name).read_text().splitlines()
    return [row for row in map(json.loads, lines) if Path(row["file"]).name not in CONTRADICTED]


@cache
def report_of(file):
    return understand((CORPORA / "files" / file).read_bytes())


def folded(address):
    return address.replace('"', "").strip("<>").casefold()


def about(report, address):
    return [said for said in report.recipients if folded(address) in (folded(said.address), folded(said.final))]


def addresses(report, outcomes):
    return {folded(said.address) for said in report.recipients if said.outcome in outcomes and said.address}


def thirds(rows):
    """All rows, those looked at, and those not."""
    unseen = [row for row in rows if zlib.crc32(row["file"].encode()) % 3 == 0]
    return {"all": rows, "seen": [row for row in rows if row not in unseen], "unseen": unseen}


def share(good, rows, what):
    """Prints the figure of each third; returns that of all rows."""
    figures = {}
    for name, some in thirds(rows).items():
        hits = sum(map(good, some))
        figures[name] = hits / len(some) if some else 1.0
        print(f"{what:42} {name:7} {hits:4} of {len(some):4} = {figures[name]:.1%}")
    return figures["all"]


def sisimai():
    return [row for row in rows_of("sisimai-expected.jsonl") if row.get("reason") and row.get("recipient")]


def bounces():
    return [row for row in sisimai() if row["reason"] not in NOBODY]


def is_hard(row):
    return any(said.outcome is Status.HARD_BOUNCE for said in about(report_of(row["file"]), row["recipient"]))


def test_the_recipient_of_a_bounce_is_found():
    assert (
        share(lambda row: bool(about(report_of(row["file"]), row["recipient"])), bounces(), "recipient found") >= 0.97
    )


def test_what_is_called_hard_is_hard_and_what_is_hard_is_called_so():
    rows = [row for row in bounces() if row["agree"] is True]
    assert share(lambda row: row["hard"], [row for row in rows if is_hard(row)], "hard, precision") >= 0.95
    assert share(is_hard, [row for row in rows if row["hard"]], "hard, recall") >= 0.95


def test_every_feedback_report_is_a_complaint():
    rows = [row for row in sisimai() if row["reason"] == "feedback"]
    assert share(lambda row: report_of(row["file"]).kind == "complaint", rows, "complaints") == 1


def test_vacation_notices_and_mails_that_are_no_bounces_bounce_nobody():
    rows = [row for row in rows_of("sisimai-expected.jsonl") if row.get("not_a_bounce") or row.get("reason") in NOBODY]
    assert len(rows) > 20
    bounced = lambda row: addresses(report_of(row["file"]), BOUNCES)  # noqa: E731
    assert share(lambda row: not bounced(row), rows, "nobody bounced") == 1


def test_the_sets_of_failed_and_delayed_recipients_are_exact():
    rows = [row for row in rows_of("flufl-expected.jsonl") if row["expected"]]

    def exact(row):
        report, wanted = report_of(row["file"]), row["expected"]
        return addresses(report, BOUNCES) == set(map(folded, wanted["permanent"])) and addresses(
            report, {Status.DEFERRED}
        ) == set(map(folded, wanted["temporary"]))

    assert share(exact, rows, "flufl.bounce's sets") >= 0.95


@pytest.mark.parametrize("name", ["bounce_email", "php-bounce-handler", "misc-reports"])
def test_every_report_of_the_other_collections_names_whom_sisimai_finds(name):
    rows = []
    for row in rows_of(f"{name}-expected.jsonl"):
        found = [run for run in row.get("sisimai_run") or () if run["reason"] not in NOBODY]
        rows += [{"file": row["file"], "address": run["recipient"]} for run in found]
    kinds = Counter(str(report_of(row["file"]).kind) for row in rows)
    print(f"{name}: {dict(kinds)}")
    assert share(lambda row: bool(about(report_of(row["file"]), row["address"])), rows, name) >= 0.95
