"""Text from outside made fit to store: what PostgreSQL refuses is removed, and length is bounded."""

REPLACED = dict.fromkeys([0, *range(0xD800, 0xE000)], "\ufffd")
# Of Unicode's formatting characters, the joiners and marks that languages need are kept; what reverses a line is not.
CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")


def clean(text: str, limit: int = 1000) -> str:
    """No NUL, no lone surrogate (PostgreSQL's UTF8 has neither), at most `limit` characters."""
    return text[:limit].translate(REPLACED)


def one_line(text: str, limit: int = 1000) -> str:
    """The same on one line and without control characters, so that nothing can forge a log, a header or a terminal."""
    line = " ".join(clean(text, limit).split())
    return line if line.isprintable() else line.translate(CONTROLS)
