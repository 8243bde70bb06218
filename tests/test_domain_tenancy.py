"""A name belongs to who can prove it: no account validates, claims or guesses what is another's."""

import re

import pytest
from django.utils import timezone

from domains import rotation
from domains.check import check, check_due
from domains.editing import add, remove
from domains.models import Domain
from domains.records import claim_record_of, records_of
from domains.senders import sender_of
from domains.wording import explain
from tests.dns_pair import dns_pair
from tests.factories import make_account, make_credential, make_domain, make_keys

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "boutique.example"


@pytest.fixture
def world():
    with dns_pair() as pair:
        yield pair


def added(account=None):
    made = make_domain(account or make_account(), NAME, validated=False)
    make_keys(made)
    return made


@pytest.fixture
def owned(world):
    """Alice's, whose records stand in DNS."""
    domain = added()
    world.enter(domain)
    check(domain)
    assert domain.validated_at is not None
    return domain


def published(world, domain):
    """Who runs the DNS of the domain replaces its records by those of this account."""
    for zone in world.all:
        for record in records_of(domain):
            zone.remove(record.name)
    world.enter(domain)


def claimed(world, record):
    for zone in world.all:
        zone.add(*record)


def test_anothers_records_validate_nobody_else(owned):
    stranger = added()
    check(stranger)
    assert stranger.validated_at is None
    assert {found["state"] for found in stranger.found.values()} == {"wrong"}
    owned.refresh_from_db()
    assert owned.validated_at is not None


def test_what_a_stranger_is_told_names_nobody(owned):
    stranger = added()
    check(stranger)
    told = " ".join(explain(stranger.found[record.key], record, NAME) for record in records_of(stranger))
    told += repr(list(stranger.events.values_list("kind", "by", "detail")))
    for secret in (owned.claim_token, owned.account.name):
        assert secret not in told


def test_the_right_records_alone_take_nothing_that_is_another_accounts(world, owned):
    """Its owner may have entered them by mistake: the claim says that it is meant."""
    stranger = added()
    published(world, stranger)
    check(stranger)
    assert stranger.validated_at is None
    owned.refresh_from_db()
    assert owned.validated_at is not None


def test_nobody_claims_with_the_token_of_another(world, owned):
    stranger, third = added(), added()
    published(world, stranger)
    for other in (owned, third):
        claimed(world, claim_record_of(other))
    check(stranger)
    assert stranger.validated_at is None


def test_who_runs_the_dns_moves_the_domain_and_the_old_account_sends_no_more(world, owned):
    old, _ = make_credential(owned.account)
    second = added()
    new, _ = make_credential(second.account)
    published(world, second)
    claimed(world, claim_record_of(second))
    check(second)
    assert NAME in sender_of(new.pk).domains
    assert NAME not in sender_of(old.pk).domains
    check(owned)
    assert owned.validated_at is None


def test_a_domain_that_was_removed_leaves_nothing_behind_for_the_next_account(world, owned):
    """Its records may stand in DNS for years: they lead to names that nobody gets again."""
    remove(owned)
    stranger, _ = add(make_account(), NAME, "eve@example.com")
    check(stranger)
    assert stranger.validated_at is None


def test_who_adds_a_domain_again_gets_new_tokens(owned):
    account, before = owned.account, (owned.token, owned.claim_token)
    remove(owned)
    again, _ = add(account, NAME, "alice@example.com")
    assert not {again.token, again.claim_token} & set(before)


def test_tokens_are_long_random_and_independent():
    account = make_account()
    made = [make_domain(account, f"shop{number}.example") for number in range(50)]
    tokens = [token for domain in made for token in (domain.token, domain.claim_token)]
    assert len(set(tokens)) == 100
    assert all(re.fullmatch("[a-z2-7]{20}", token) for token in tokens), "100 bits each"


def test_a_check_or_a_rotation_of_one_account_changes_no_row_of_another(world, owned):
    stranger = added()
    Domain.objects.filter(pk=owned.pk).update(next_check_at=None, next_step_at=None)
    before = list(Domain.objects.filter(pk=owned.pk).values())
    keys = list(owned.keys.order_by("pk").values())
    check(stranger, "eve@example.com")
    assert not rotation.ask(stranger, "eve@example.com")
    Domain.objects.filter(pk=stranger.pk).update(next_step_at=timezone.now(), next_check_at=timezone.now())
    assert (rotation.take_steps(), check_due()) == (1, 1)
    assert list(Domain.objects.filter(pk=owned.pk).values()) == before
    assert list(owned.keys.order_by("pk").values()) == keys
