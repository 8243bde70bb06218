"""One row of the reply table, and the small notation its phrases are written in."""

import re
import unicodedata
from dataclasses import dataclass

from activity.reasons import Reason


@dataclass(frozen=True, slots=True)
class Rule:
    """`pattern` is searched in a normalised reply (see judging.normalised). `hard`: the address or domain is bad."""

    name: str
    reason: Reason
    source: str
    pattern: re.Pattern[str]
    hard: bool = False


def rule(name: str, reason: Reason, source: str, *phrases: str, hard: bool = False) -> Rule:
    """A row that matches any of its phrases.

    A phrase is a regular expression in lower case. "…" stands for at most 40 characters of anything. A phrase that
    begins with an ASCII character begins at a word's start. No phrase has an unbounded repetition, so that a search
    takes time linear in the text.
    """
    return Rule(name, reason, source, re.compile("|".join(_expression(phrase) for phrase in phrases)), hard)


def _expression(phrase: str) -> str:
    letter = next(filter(str.isalnum, phrase), "")
    # Chinese and Japanese write no spaces: there a word's start cannot be seen.
    start = "" if phrase.startswith("^") or letter >= "\u2e80" else r"\b"
    return f"{start}(?:{without_accents(phrase).replace('…', '.{0,40}')})" if phrase else ""


# Letters whose mark is a part of them.
MARKED = str.maketrans("ıłŁøØđĐ", "ilLoOdD")


def without_accents(text: str) -> str:
    """Letters without their marks, in compatibility form: "ü" as "u", "ł" as "l", full-width letters as narrow ones."""
    # The ellipsis is notation here, and NFKD would make it three dots.
    parts = (unicodedata.normalize("NFKD", part) for part in text.split("…"))
    return "".join(char for char in "…".join(parts) if not unicodedata.combining(char)).translate(MARKED)
