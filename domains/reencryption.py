"""Encrypts every private key anew after RELAY_SECRET_KEY was changed, so that the old one can be dropped."""

from cryptography.fernet import InvalidToken
from django.db.models import TextField
from django.db.models.functions import Cast

from domains.keys import at_rest
from domains.models import DkimKey


def reencrypt() -> tuple[int, list[int]]:
    """(keys that are encrypted with RELAY_SECRET_KEY now, ids of those that no known secret opens).

    May run beside everything else: a key that is replaced meanwhile is encrypted with the present secret anyway.
    """
    done, closed = 0, []
    rows = DkimKey.objects.order_by("pk").annotate(sealed=Cast("private_key", TextField()))
    for key, sealed, made in rows.values_list("pk", "sealed", "created_at").iterator():
        try:
            plain = at_rest().decrypt(sealed.encode()).decode()
        except InvalidToken:
            closed.append(key)
            continue
        done += DkimKey.objects.filter(pk=key, created_at=made).update(private_key=plain)
    return done, closed
