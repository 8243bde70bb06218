"""Who signs with which key, from which return path, and how keys are kept."""

import asyncio
import datetime as dt
import time

import dkim
import psycopg
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from cryptography.fernet import InvalidToken
from django.conf import settings as live
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from activity.claim import Claimed
from activity.models import Message, Recipient
from activity.pool import conninfo, open_pool
from domains import reencryption
from domains.keys import make_private_key, open_private_key, public_key_of
from domains.models import DkimKey, Domain
from domains.rotation import renew
from domains.signing import identities
from domains.signing_key import sign_with
from relay import returnpath
from relay.delivery import contents
from tests.delivering import accepted_email, engine_running, short_retries, simulated, wait_until, wait_until_final
from tests.factories import make_account, make_domain, make_keys

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def domain():
    made = make_domain(make_account(), "boutique.example")
    make_keys(made)
    return made


def identity_of(domain, known=None):
    async def ask():
        async with await psycopg.AsyncConnection.connect(conninfo()) as found:
            return await identities(found, [domain.pk], {domain.pk: known} if known else {})

    return async_to_sync(ask)().get(domain.pk)


def sealed_keys():
    with connection.cursor() as cursor:
        cursor.execute("SELECT private_key FROM domains_dkimkey ORDER BY id")
        return [sealed for (sealed,) in cursor.fetchall()]


def selector_of(received):
    return received.content.partition(b"; t=")[0].rpartition(b"s=")[2].decode()


# Which key signs.


def test_the_active_key_signs_and_its_host_is_the_return_paths(domain):
    identity = identity_of(domain)
    assert (identity.domain, identity.selector) == ("boutique.example", "r1")
    assert identity.bounce_host == "bounce.boutique.example"
    assert identity.key.private_numbers() == open_private_key(domain.keys.get(slot=1).private_key).private_numbers()


def test_the_return_path_is_our_own_zones_while_the_customers_record_is_gone(domain):
    Domain.objects.update(own_return_path=True)
    assert identity_of(domain).bounce_host == "bounce.relay.test"


def test_an_identity_that_did_not_change_is_not_opened_again(domain):
    first = identity_of(domain)
    assert identity_of(domain, first) is first
    sign_with(domain.pk, 2, timezone.now())
    second = identity_of(domain, first)
    assert second.selector == "r2"
    Domain.objects.update(own_return_path=True)
    assert identity_of(domain, second) is not second


def test_a_removed_domain_has_no_identity(domain):
    domain.delete()
    assert identity_of(domain) is None


def test_signing_is_handed_over_and_the_old_key_knows_when(domain):
    now = timezone.now()
    assert sign_with(domain.pk, 2, now)
    first, second = domain.keys.order_by("slot")
    assert (first.active, first.stopped_at) == (False, now)
    assert (second.active, second.stopped_at) == (True, None)


@pytest.mark.parametrize("usable_in", [None, 60])
def test_a_key_that_may_not_sign_yet_takes_over_from_none(domain, usable_in):
    now = timezone.now()
    usable_at = None if usable_in is None else now + dt.timedelta(seconds=usable_in)
    domain.keys.filter(slot=2).update(usable_at=usable_at)
    assert not sign_with(domain.pk, 2, now)
    first = domain.keys.get(slot=1)
    assert (first.active, first.stopped_at) == (True, None)


def test_who_signs_already_is_not_switched_to(domain):
    assert not sign_with(domain.pk, 1, timezone.now())
    assert domain.keys.get(active=True).slot == 1


# The deliverer follows.


def sent(engine, domain):
    email = accepted_email(domain)
    engine.ring("dest.test")
    wait_until_final(email)


def test_mail_is_signed_with_the_new_key_seconds_after_the_switch(domain):
    with simulated() as simulator, engine_running() as engine:
        sent(engine, domain)
        sign_with(domain.pk, 2, timezone.now())
        domain_key = domain.keys.get(slot=2).txt.encode()

        def signed_by_the_second():
            sent(engine, domain)
            return selector_of(simulator.received[-1]) == "r2"

        wait_until(signed_by_the_second, 15)
        assert selector_of(simulator.received[0]) == "r1"
        assert dkim.verify(simulator.received[-1].content, dnsfunc=lambda name, timeout=5: domain_key)


def test_what_was_signed_and_deferred_leaves_with_the_key_and_return_path_of_its_retry(domain, monkeypatch):
    monkeypatch.setattr(contents, "IDENTITY_SECONDS", 0.5)
    held = {"count": 0, "open": False}

    def behave(stage, _envelope):
        held["count"] += stage == "rcpt"
        return "451 4.7.1 Greylisted" if stage == "rcpt" and not held["open"] else None

    with simulated(behave) as simulator, short_retries(1, 1, 1), engine_running():
        email = accepted_email(domain)
        wait_until(lambda: held["count"] > 0)
        sign_with(domain.pk, 2, timezone.now())
        Domain.objects.update(own_return_path=True)
        held["open"] = True
        wait_until_final(email, seconds=20)
    (received,) = simulator.received
    assert selector_of(received) == "r2"
    local, _, host = received.sender.partition("@")
    assert host == "bounce.relay.test"
    assert returnpath.recipient_of(local) == email.id


def prepared_twice(email, seconds, between=lambda: None):
    """What the deliverer holds ready for an email, and what it holds `seconds` later."""

    job = claimed(email)

    async def run():
        pool = await open_pool(1, "test")
        held = contents.Contents(pool)
        try:
            first = await asyncio.wait_for(held.get(job), 10)
            await sync_to_async(between)()
            await asyncio.sleep(seconds)
            return first, await asyncio.wait_for(held.get(job), 10), held.cached_bytes
        finally:
            held.close()
            await pool.close()

    return async_to_sync(run)()


def claimed(email):
    values = {name: getattr(email, name) for name in ("id", "message_id", "account_id", "address", "domain", "attempt")}
    message = Message.objects.get(id=email.message_id)
    values |= {"domain_id": message.domain_id, "mail_from": message.mail_from, "size": message.size}
    return Claimed(**values, give_up_at=email.give_up_at, reason="", reply="", smtputf8=False)


def test_what_is_signed_is_not_signed_again_while_its_domain_stays_as_it_is(domain, monkeypatch):
    monkeypatch.setattr(contents, "IDENTITY_SECONDS", 0.1)
    first, second, _ = prepared_twice(accepted_email(domain), 0.3)
    assert second is first


def test_what_is_signed_is_signed_again_once_its_domain_signs_with_another_key(domain, monkeypatch):
    monkeypatch.setattr(contents, "IDENTITY_SECONDS", 0.1)
    first, second, held = prepared_twice(accepted_email(domain), 0.3, lambda: sign_with(domain.pk, 2, timezone.now()))
    assert (b"s=r1;" in first.wire, b"s=r2;" in second.wire) == (True, True)
    assert held == len(second.wire), "the first one is not held any more"


def test_what_is_signed_is_used_for_seconds_without_asking(domain):
    first, second, _ = prepared_twice(accepted_email(domain), 0, lambda: sign_with(domain.pk, 2, timezone.now()))
    assert second is first


def test_mail_of_a_domain_that_was_removed_is_signed_by_nobody(domain, monkeypatch):
    monkeypatch.setattr(contents, "IDENTITY_SECONDS", 0.1)
    with simulated() as simulator, engine_running() as engine:
        sent(engine, domain)
        domain.keys.all().delete()
        time.sleep(0.2)
        email = accepted_email(domain)
        engine.ring("dest.test")
        wait_until(lambda: Recipient.objects.get(id=email.id).status not in ("accepted", "pending"))
    assert Recipient.objects.get(id=email.id).status != "delivered"
    assert simulator.received_count == 1


# Keys at rest.


def test_private_keys_are_kept_encrypted_and_public_ones_beside_them(domain):
    key = domain.keys.get(slot=1)
    assert "PRIVATE" in key.private_key
    assert all("PRIVATE" not in sealed for sealed in sealed_keys())
    assert key.public_key == public_key_of(key.private_key)
    assert key.txt == f"v=DKIM1; k=rsa; p={key.public_key}"


def test_a_changed_secret_still_opens_what_the_old_one_encrypted(domain, settings):
    plain = domain.keys.get(slot=1).private_key
    settings.SECRET_KEY_FALLBACKS = [live.SECRET_KEY]
    settings.SECRET_KEY = "the new secret of the relay, fifty characters long"
    assert domain.keys.get(slot=1).private_key == plain
    assert identity_of(domain).selector == "r1"


def test_after_reencrypt_the_old_secret_can_be_dropped(domain, settings, capsys):
    plain = [key.private_key for key in domain.keys.order_by("id")]
    old = live.SECRET_KEY
    settings.SECRET_KEY = "the new secret of the relay, fifty characters long"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(InvalidToken):
        domain.keys.first()
    settings.SECRET_KEY_FALLBACKS = [old]
    before = sealed_keys()
    call_command("reencrypt")
    assert "2 keys" in capsys.readouterr().out
    settings.SECRET_KEY_FALLBACKS = []
    assert [key.private_key for key in domain.keys.order_by("id")] == plain
    assert not set(before) & set(sealed_keys())
    with simulated() as simulator, engine_running():
        wait_until_final(accepted_email(domain))
    txt = domain.keys.get(active=True).txt.encode()
    assert dkim.verify(simulator.received[0].content, dnsfunc=lambda name, timeout=5: txt)


def test_reencrypt_names_the_keys_that_no_secret_opens_and_does_the_others(domain, settings):
    lost = domain.keys.get(slot=1)
    settings.SECRET_KEY_FALLBACKS = [live.SECRET_KEY, "a secret that nobody knows any more, fifty long"]
    settings.SECRET_KEY = settings.SECRET_KEY_FALLBACKS[1]
    DkimKey.objects.filter(pk=lost.pk).update(private_key=lost.private_key)
    settings.SECRET_KEY_FALLBACKS = settings.SECRET_KEY_FALLBACKS[:1]
    settings.SECRET_KEY = "the new secret of the relay, fifty characters long"
    with pytest.raises(CommandError, match=f"the keys {lost.pk}:"):
        call_command("reencrypt")
    settings.SECRET_KEY_FALLBACKS = []
    assert "PRIVATE" in domain.keys.get(slot=2).private_key


def test_reencrypt_leaves_a_key_alone_that_was_replaced_meanwhile(domain, settings, monkeypatch):
    idle = domain.keys.get(slot=2)
    real = reencryption.at_rest
    replaced = []

    def at_rest():
        if not replaced:
            replaced.append(renew(domain, idle, 0, timezone.now()))
        return real()

    monkeypatch.setattr(reencryption, "at_rest", at_rest)
    done, closed = reencryption.reencrypt()
    assert (done, closed, replaced) == (1, [], [True])
    key = domain.keys.get(slot=2)
    assert public_key_of(key.private_key) == key.public_key != idle.public_key


def test_a_new_key_is_rsa_2048():
    assert open_private_key(make_private_key()).key_size == 2048
