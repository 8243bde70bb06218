"""Which addresses an account does not send to any more, as submission asks at each RCPT."""

from activity.addresses import normalised
from activity.models import Suppression

# An account with more than this many is asked address by address.
WHOLE_LIST = 5_000


def suppressed_addresses(account_id: int) -> frozenset[str] | None:
    """Every suppressed address of an account, normalised; None when they are too many to hold."""
    valid = Suppression.objects.valid().filter(account_id=account_id)
    addresses = frozenset(valid.values_list("address", flat=True)[: WHOLE_LIST + 1])
    return None if len(addresses) > WHOLE_LIST else addresses


def suppression_of(account_id: int, address: str) -> Suppression | None:
    """The entry of an address, however it is written."""
    return Suppression.objects.valid().filter(account_id=account_id, address=normalised(address)).first()
