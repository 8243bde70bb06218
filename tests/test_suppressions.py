"""Suppression lists: what enters them, by which form addresses are compared, and what takes them off."""

import asyncio
import datetime as dt

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from activity.addresses import normalised, well_formed
from activity.claim import LaneWish
from activity.models import Recipient, Suppression, SuppressionRemoval
from activity.outcome import Outcome
from activity.pool import open_pool
from activity.record import record
from activity.status import Status
from activity.suppress import Cause, drop_expired, suppress, unsuppress
from activity.suppressed import suppressed_addresses, suppression_of
from tests.factories import make_account, make_email, make_user, record_report
from tests.test_claim_and_record import EVER, claim_now, due_email, outcome_of, record_now

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def account():
    return make_account(make_user("alice@example.com"))


def attempted(*emails, **outcomes):
    """Claim everything due at dest.example and record each address's outcome."""
    jobs = claim_now(LaneWish("dest.example", 50))
    return record_now(*(outcome_of(job, outcomes[job.address.partition("@")[0]], code=550) for job in jobs))


class TestWhatEnters:
    def test_a_hard_bounce_does_linked_to_its_email_and_nothing_else_does(self, account):
        emails = [due_email(account, f"{name}@dest.example") for name in ("hard", "soft", "good", "later")]
        attempted(hard=Status.HARD_BOUNCE, soft=Status.SOFT_BOUNCE, good=Status.DELIVERED, later=Status.DEFERRED)
        entry = Suppression.objects.get()
        assert (entry.address, entry.cause, entry.recipient_id) == ("hard@dest.example", "hard_bounce", emails[0].id)
        assert entry.account == account

    def test_a_late_worker_suppresses_nothing(self, account):
        due_email(account, "hard@dest.example")
        (job,) = claim_now(LaneWish("dest.example", 1))
        record_now(outcome_of(job))
        record_now(outcome_of(job, Status.HARD_BOUNCE))
        assert not Suppression.objects.exists()

    def test_many_bounces_of_one_address_are_one_entry_of_the_first(self, account):
        for _ in range(3):
            due_email(account, "hard@dest.example")
        attempted(hard=Status.HARD_BOUNCE)
        assert Suppression.objects.count() == 1

    def test_a_late_hard_bounce_does_and_a_late_soft_one_does_not(self, account):
        hard, soft = make_email(account, "hard@dest.example"), make_email(account, "soft@dest.example")
        record_report(hard.id, Outcome(Status.HARD_BOUNCE, "unknown_user"), timezone.now())
        record_report(soft.id, Outcome(Status.SOFT_BOUNCE, "mailbox_full"), timezone.now())
        assert Suppression.objects.get().recipient_id == hard.id

    def test_a_status_and_its_suppression_are_one_commit(self, account, monkeypatch):
        due_email(account, "hard@dest.example")
        (job,) = claim_now(LaneWish("dest.example", 1))

        async def crash(*_):
            raise RuntimeError

        monkeypatch.setattr("activity.aftermath.suppress_on", crash)
        with pytest.raises(RuntimeError):
            record_now(outcome_of(job, Status.HARD_BOUNCE))
        assert account.suppressions.count() == 0
        assert claim_status(job) == "pending"

    def test_two_workers_that_meet_the_same_addresses_do_not_wait_for_each_other_for_ever(self, account):
        for number in range(40):
            due_email(account, f"n{number % 20}@dest.example")
        jobs = claim_now(LaneWish("dest.example", 50))
        halves = jobs[:20], jobs[20:][::-1]

        async def both():
            pool = await open_pool(2, "test")
            async with pool.connection() as one, pool.connection() as two:
                bounces = [[outcome_of(job, Status.HARD_BOUNCE) for job in half] for half in halves]
                await asyncio.gather(record(one, bounces[0], EVER), record(two, bounces[1], EVER))
            await pool.close()

        asyncio.run(both())
        assert account.suppressions.count() == 20

    def test_an_account_that_was_deleted_meanwhile_keeps_nothing_from_being_recorded(self, account):
        due_email(account, "hard@dest.example")
        (job,) = claim_now(LaneWish("dest.example", 1))
        account.delete()
        assert record_now(outcome_of(job, Status.HARD_BOUNCE)) == {job.id}


def claim_status(job):
    return Recipient.objects.get(id=job.id).status


class TestHowAddressesAreCompared:
    @pytest.mark.parametrize(
        "written",
        ["Marie@Example.org", "MARIE@example.ORG", " marie@example.org "],
    )
    def test_case_does_not_matter(self, account, written):
        suppress(account.id, written, Cause.MANUAL)
        assert suppression_of(account.id, "mArIe@EXAMPLE.org").address == "marie@example.org"
        assert suppressed_addresses(account.id) == {"marie@example.org"}

    def test_an_internationalised_domain_is_its_a_labels(self, account):
        suppress(account.id, "Jörg@BÜCHER.example", Cause.MANUAL)
        assert suppression_of(account.id, "jörg@xn--bcher-kva.example")

    def test_what_an_operator_types_is_normalised_as_well(self, account):
        Suppression.objects.create(account=account, address="Marie@Example.org", cause="manual")
        assert suppression_of(account.id, "marie@example.org")

    @given(st.text(max_size=40), st.text(max_size=40))
    def test_nothing_that_anybody_types_breaks_the_comparison(self, local, domain):
        address = f"{local}@{domain}"
        assert normalised(address) == normalised(f" {address} ")
        assert well_formed(address) in (True, False)

    @pytest.mark.parametrize("address", ["a@b.example", "jörg@bücher.example", '"a b"@c.example', "=x@d.example"])
    def test_whatever_can_be_sent_to_can_be_listed(self, address):
        assert well_formed(address)

    @pytest.mark.parametrize(
        "address", ["", "@", "a", "a@", "@b.example", "a b@c.example", "a@b", "a@-b.example", "a\x00@b.example"]
    )
    def test_what_is_no_address_is_told_apart(self, address):
        assert not well_formed(address)


class TestWhatLeaves:
    def test_a_removal_keeps_who_and_why(self, account):
        suppress(account.id, "marie@example.org", Cause.COMPLAINT)
        alice = account.members.get()
        assert unsuppress(account, [account.suppressions.get().id], alice, "she asked") == 1
        removal = SuppressionRemoval.objects.get()
        assert (removal.address, removal.cause, removal.removed_by) == ("marie@example.org", "complaint", alice)
        assert removal.reason == "she asked"
        assert not suppression_of(account.id, "marie@example.org")

    def test_nobody_removes_what_is_another_accounts(self, account):
        suppress(account.id, "marie@example.org", Cause.MANUAL)
        assert unsuppress(make_account(), [account.suppressions.get().id], None, "") == 0
        assert account.suppressions.count() == 1

    def test_without_the_setting_nothing_ever_expires(self, account):
        suppress(account.id, "marie@example.org", Cause.MANUAL)
        account.suppressions.update(created_at=timezone.now() - dt.timedelta(days=3650))
        assert drop_expired() == 0
        assert suppression_of(account.id, "marie@example.org")

    def test_an_expired_entry_holds_no_more_and_is_dropped_in_the_end(self, account, settings):
        settings.SUPPRESSION_EXPIRY = 86_400.0
        for address in ("old@example.org", "new@example.org"):
            suppress(account.id, address, Cause.HARD_BOUNCE)
        account.suppressions.filter(address="old@example.org").update(created_at=timezone.now() - dt.timedelta(days=2))
        assert suppressed_addresses(account.id) == {"new@example.org"}
        assert not suppression_of(account.id, "old@example.org")
        assert drop_expired() == 1
        assert account.suppressions.get().address == "new@example.org"

    def test_a_new_bounce_renews_an_expired_entry(self, account, settings):
        settings.SUPPRESSION_EXPIRY = 86_400.0
        suppress(account.id, "old@example.org", Cause.MANUAL)
        account.suppressions.update(created_at=timezone.now() - dt.timedelta(days=2))
        assert suppress(account.id, "old@example.org", Cause.HARD_BOUNCE)
        assert suppression_of(account.id, "old@example.org").cause == "hard_bounce"
