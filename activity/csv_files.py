"""Suppression lists as CSV files: read from whatever a spreadsheet or another provider wrote, and written safely."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _

from activity.addresses import normalised, well_formed
from activity.models import Suppression

MAX_BYTES = 5_000_000
MAX_ROWS = 50_000
MAX_SHOWN = 100
COLUMNS = ("address", "cause", "since")
ADDRESS_NAMES = frozenset({"address", "email", "e-mail", "email address", "recipient", "adresse", "courriel"})
# A spreadsheet takes a cell that begins so for a formula (OWASP, CSV injection).
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "'")


class Unreadable(Exception):
    """The file as a whole cannot be taken; the text says why."""


@dataclass(frozen=True, slots=True)
class BadRow:
    line: int
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Imported:
    """{normalised address: cause} of the good rows, and the rows that are not addresses."""

    good: dict[str, Suppression.Cause]
    bad: list[BadRow]

    @property
    def bad_shown(self) -> list[BadRow]:
        return self.bad[:MAX_SHOWN]


def guarded(cell: str) -> str:
    """The cell as text: behind an apostrophe where a spreadsheet would calculate; `unguarded` takes it off."""
    return f"'{cell}" if cell.startswith(DANGEROUS) else cell


def unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(DANGEROUS) else cell


def write(entries: Iterable[Suppression]) -> Iterator[str]:
    """Line by line, for a response that is streamed; times are UTC."""
    line = io.StringIO()
    writer = csv.writer(line)
    writer.writerow(COLUMNS)
    for entry in entries:
        writer.writerow([guarded(entry.address), entry.cause, f"{entry.created_at:%Y-%m-%dT%H:%M:%SZ}"])
        if line.tell() > 16_384:
            yield line.getvalue()
            line.seek(0)
            line.truncate()
    yield line.getvalue()


def read(raw: bytes) -> Imported:
    """The addresses of a file; with a heading line, those of its column “address”. Raises Unreadable."""
    if len(raw) > MAX_BYTES:
        raise Unreadable(_("The file is larger than %(n)d MB. Import it in parts.") % {"n": MAX_BYTES // 1_000_000})
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable(_("The file is not text in UTF-8. Save it as “CSV UTF-8”.")) from None
    try:
        return _sorted_out(_numbered(text.replace("\0", "")))
    except csv.Error as error:
        raise Unreadable(_("The file is not CSV: %(error)s.") % {"error": error}) from None


def _numbered(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each row with the line of the file on which it begins: a quoted cell may hold line ends."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    line = 1
    for row in reader:
        yield line, row
        line = reader.line_num + 1


def _delimiter(text: str) -> str:
    """Spreadsheets of many languages write semicolons; the first line tells."""
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)


def _sorted_out(rows: Iterable[tuple[int, list[str]]]) -> Imported:
    found = Imported({}, [])
    address_at, cause_at = 0, None
    for line, row in rows:
        cells = [unguarded(cell.strip()) for cell in row]
        if line == 1 and (heading := [cell.lower() for cell in cells]) and ADDRESS_NAMES.intersection(heading):
            address_at = next(n for n, name in enumerate(heading) if name in ADDRESS_NAMES)
            cause_at = heading.index("cause") if "cause" in heading else None
        elif any(cells):
            if len(found.good) + len(found.bad) >= MAX_ROWS:
                raise Unreadable(_("The file has more than %(n)d rows. Import it in parts.") % {"n": MAX_ROWS})
            address = cells[address_at] if address_at < len(cells) else ""
            cause = cells[cause_at] if cause_at is not None and cause_at < len(cells) else ""
            _add(found, line, address, cause)
    return found


def _add(found: Imported, line: int, address: str, cause: str) -> None:
    if well_formed(address):
        known = Suppression.Cause(cause) if cause in Suppression.Cause else Suppression.Cause.MANUAL
        found.good.setdefault(normalised(address), known)
    else:
        why = _("is not an email address") if address else _("has no address")
        found.bad.append(BadRow(line, address[:100], why))
