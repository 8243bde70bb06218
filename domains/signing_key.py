"""Which of a domain's two keys signs: the one place that changes it."""

import datetime as dt

from django.db import transaction

from domains.models import DkimKey


class _NotUsable(Exception):
    pass


def sign_with(domain_id: int, slot: int, now: dt.datetime) -> bool:
    """Hand signing over to this selector's key; False when it may not sign yet, or signs already.

    The old key's `stopped_at` says from when on nothing new is signed with it.
    """
    try:
        with transaction.atomic():
            keys = DkimKey.objects.filter(domain=domain_id)
            if not keys.filter(active=True).exclude(slot=slot).update(active=False, stopped_at=now):
                return False
            usable = keys.filter(slot=slot, active=False, usable_at__lte=now)
            if not usable.update(active=True, stopped_at=None):
                raise _NotUsable
    except _NotUsable:
        return False
    return True
