"""Text from outside made fit to store: what PostgreSQL refuses is removed, and length is bounded."""

REPLACED = dict.fromkeys([0, *range(0xD800, 0xE000)], "\ufffd")


def clean(text: str, limit: int = 1000) -> str:
    """No NUL, no lone surrogate (PostgreSQL's UTF8 has neither), at most `limit` characters."""
    return text[:limit].translate(REPLACED)


def one_line(text: str, limit: int = 1000) -> str:
    """The same on one line, so that nothing can forge a second line of a log or a header."""
    return " ".join(clean(text, limit).split())
