"""Which addresses an account does not send to any more, as submission asks at each RCPT."""

from activity.models import Suppression

# An account with more than this many is asked address by address.
WHOLE_LIST = 5_000


def suppressed_addresses(account_id: int) -> frozenset[str] | None:
    """Every suppressed address of an account; None when they are too many to hold."""
    rows = Suppression.objects.filter(account_id=account_id).values_list("address", flat=True)[: WHOLE_LIST + 1]
    addresses = frozenset(rows)
    return None if len(addresses) > WHOLE_LIST else addresses


def suppression_of(account_id: int, address: str) -> Suppression | None:
    """Addresses are kept in lower case; one that was added in another case counts only as it was written."""
    spellings = {address, address.lower()}
    return Suppression.objects.filter(account_id=account_id, address__in=spellings).first()
