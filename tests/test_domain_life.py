"""The life of a domain, picture by picture: validated, failing, unauthenticated, restored, moved."""

import datetime as dt
import threading
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from domains import life
from domains.finding import Finding, Picture, State
from domains.life import apply, owner_elsewhere
from domains.models import Domain, DomainEvent
from domains.senders import sender_of
from tests.factories import make_account, make_credential, make_domain, make_keys

pytestmark = pytest.mark.django_db

Kind = DomainEvent.Kind
NOW = timezone.now().replace(microsecond=0)
HOUR = dt.timedelta(hours=1)
RECORDS = ("dkim1", "dkim2", "bounce")


@pytest.fixture
def account():
    return make_account()


@pytest.fixture
def domain(account):
    """Just added."""
    made = make_domain(account, validated=False)
    make_keys(made)
    return made


@pytest.fixture
def validated(domain):
    apply(domain, seen(domain), NOW)
    assert domain.validated_at == NOW
    domain.events.all().delete()
    return domain


def seen(domain, claim=False, **others):
    """What a look found: every record is right but those named, such as dkim1="missing"."""
    findings = {key: Finding(State(others.get(key, "validated")), ttl=300) for key in RECORDS}
    shown = {key: finding for key, finding in findings.items() if finding.state is State.VALIDATED}
    keys = {key.selector: key.public_key for key in domain.keys.all() if f"dkim{key.slot}" in shown}
    return Picture(findings, claim=claim, dns_host="gandi", name_servers=("ns1.example",), keys=keys)


def told(domain):
    return list(domain.events.order_by("id").values_list("kind", flat=True))


def signing(domain):
    return domain.keys.get(active=True).selector


# Becoming validated.


def test_three_right_records_validate_a_domain_and_its_keys_may_sign(domain, settings):
    apply(domain, seen(domain), NOW, by="ann@example.com")
    assert domain.validated_at == domain.checked_at == NOW
    assert 0.8 * settings.KEY_AGE <= (domain.rotate_at - NOW).total_seconds() <= settings.KEY_AGE
    assert [key.usable_at for key in domain.keys.all()] == [NOW, NOW]
    line = domain.events.get(kind=Kind.VALIDATED)
    assert (line.by, line.at, line.mail_owed) == ("ann@example.com", NOW, False)
    assert domain.advice["dns_host"] == "gandi"


@pytest.mark.parametrize("state", ["missing", "wrong", "several", "conflict", "spreading", "error"])
@pytest.mark.parametrize("record", RECORDS)
def test_two_right_records_are_not_enough(domain, record, state):
    apply(domain, seen(domain, **{record: state}), NOW)
    assert domain.validated_at is None
    assert domain.found[record]["state"] == state
    assert Kind.VALIDATED not in told(domain)


def test_every_change_of_a_record_is_a_line_of_history_and_no_change_is_none(domain):
    apply(domain, seen(domain, dkim1="missing"), NOW)
    apply(domain, seen(domain, dkim1="missing"), NOW + HOUR)
    apply(domain, seen(domain, dkim1="wrong"), NOW + 2 * HOUR)
    changes = domain.events.filter(kind=Kind.RECORD_CHANGED, detail__record="dkim1").order_by("id")
    assert [(line.detail["was"], line.detail["state"]) for line in changes] == [("", "missing"), ("missing", "wrong")]


def test_a_record_that_keeps_changing_does_not_fill_the_history(domain):
    for number in range(60):
        apply(domain, seen(domain, dkim1=("missing", "wrong")[number % 2]), NOW + number * HOUR / 60)
    assert domain.events.count() == life.CHANGES_A_DAY
    apply(domain, seen(domain, dkim1="several"), NOW + 26 * HOUR)
    assert domain.events.count() == life.CHANGES_A_DAY + 1


def test_a_key_waits_for_what_others_remember_of_the_one_before_it(domain):
    domain.keys.filter(slot=2).update(old_ttl=300)
    apply(domain, seen(domain), NOW)
    assert domain.keys.get(slot=2).usable_at == NOW + dt.timedelta(seconds=300)


# Failing.


@pytest.mark.parametrize("state", ["missing", "wrong", "several", "conflict"])
def test_a_record_that_is_lost_warns_and_the_domain_still_sends(validated, state, settings):
    apply(validated, seen(validated, dkim2=state), NOW + HOUR)
    assert validated.validated_at == NOW
    assert validated.failing_since == NOW + HOUR
    line = validated.events.get(kind=Kind.FAILING)
    assert line.mail_owed
    assert line.detail["records"] == ["dkim2"]
    assert dt.datetime.fromisoformat(line.detail["until"]) == NOW + HOUR + dt.timedelta(seconds=settings.DOMAIN_GRACE)


def test_the_warning_is_owed_once_however_often_the_records_are_looked_at(validated):
    for hours in range(1, 10):
        apply(validated, seen(validated, dkim2="missing"), NOW + hours * HOUR)
    assert validated.events.filter(mail_owed=True).count() == 1


def test_a_record_that_comes_back_within_the_grace_ends_the_warning(validated):
    apply(validated, seen(validated, dkim2="missing"), NOW + HOUR)
    apply(validated, seen(validated), NOW + 2 * HOUR)
    assert validated.failing_since is None
    assert told(validated) == [Kind.RECORD_CHANGED, Kind.FAILING, Kind.RECORD_CHANGED, Kind.RECOVERED]


def test_the_grace_counts_from_the_first_record_that_was_lost(validated):
    apply(validated, seen(validated, dkim2="missing"), NOW + HOUR)
    apply(validated, seen(validated, bounce="missing"), NOW + 70 * HOUR)
    assert validated.failing_since == NOW + HOUR


def test_after_the_grace_the_domain_is_unauthenticated_and_its_owners_are_told(validated):
    apply(validated, seen(validated, dkim2="missing"), NOW + HOUR)
    apply(validated, seen(validated, dkim2="missing"), NOW + 72 * HOUR)
    assert validated.validated_at is not None
    apply(validated, seen(validated, dkim2="missing"), NOW + 73 * HOUR)
    assert (validated.validated_at, validated.failing_since) == (None, None)
    assert validated.events.get(kind=Kind.UNAUTHENTICATED).mail_owed


def test_an_unauthenticated_domain_may_not_send_and_one_that_comes_back_may(validated):
    credential, _ = make_credential(validated.account)
    assert validated.name in sender_of(credential.pk).domains
    apply(validated, seen(validated, dkim2="missing"), NOW + HOUR)
    assert validated.name in sender_of(credential.pk).domains
    apply(validated, seen(validated, dkim2="missing"), NOW + 73 * HOUR)
    assert validated.name not in sender_of(credential.pk).domains
    apply(validated, seen(validated), NOW + 1000 * HOUR)
    assert validated.name in sender_of(credential.pk).domains
    assert told(validated)[-1] == Kind.VALIDATED


def test_trouble_with_asking_never_demotes(validated):
    everything = dict.fromkeys(RECORDS, "error")
    for hours in (1, 100, 1000, 10_000):
        apply(validated, seen(validated, **everything), NOW + hours * HOUR)
    assert validated.validated_at == NOW
    assert validated.failing_since is None
    assert told(validated) == []


def test_a_failing_domain_is_not_demoted_by_trouble_at_the_end_of_its_grace(validated):
    apply(validated, seen(validated, dkim2="missing"), NOW + HOUR)
    apply(validated, seen(validated, dkim2="error"), NOW + 100 * HOUR)
    assert validated.validated_at == NOW
    assert validated.failing_since is not None
    apply(validated, seen(validated), NOW + 101 * HOUR)
    assert validated.failing_since is None


def test_trouble_in_between_makes_no_second_change_of_the_same_loss(validated):
    apply(validated, seen(validated, dkim2="missing"), NOW + HOUR)
    apply(validated, seen(validated, dkim2="error"), NOW + 2 * HOUR)
    apply(validated, seen(validated, dkim2="missing"), NOW + 3 * HOUR)
    assert told(validated).count(Kind.RECORD_CHANGED) == 1
    assert validated.failing_since == NOW + HOUR


def test_a_value_that_spreads_is_no_loss(validated):
    apply(validated, seen(validated, dkim2="spreading"), NOW + 100 * HOUR)
    assert validated.failing_since is None


def test_a_new_key_on_its_way_through_our_own_zone_is_no_news_about_the_record(validated):
    picture = seen(validated)
    picture.records["dkim2"] = Finding(State.SPREADING, problem="our_zone")
    apply(validated, picture, NOW + HOUR)
    assert told(validated) == []


# Making do.


def test_the_selector_that_is_left_signs(validated):
    assert signing(validated) == "r1"
    apply(validated, seen(validated, dkim1="missing"), NOW + HOUR)
    assert signing(validated) == "r2"
    assert validated.keys.get(slot=1).stopped_at == NOW + HOUR
    line = validated.events.get(kind=Kind.KEY_SWITCHED)
    assert line.detail == {"record": "dkim2", "why": "record"}


def test_the_first_selector_does_not_come_back_by_itself_for_the_other_is_as_good(validated):
    apply(validated, seen(validated, dkim1="missing"), NOW + HOUR)
    apply(validated, seen(validated), NOW + 2 * HOUR)
    assert signing(validated) == "r2"


def test_a_key_that_our_own_name_servers_lost_is_left_for_the_other_and_nobody_is_warned(validated):
    picture = seen(validated, dkim1="spreading")
    picture.records["dkim1"] = Finding(State.SPREADING, problem="our_zone")
    apply(validated, picture, NOW + HOUR)
    assert signing(validated) == "r2"
    assert told(validated) == [Kind.KEY_SWITCHED]
    assert validated.failing_since is None


@pytest.mark.parametrize("other", ["missing", "error", "spreading"])
def test_a_selector_that_is_not_seen_right_now_takes_over_from_none(validated, other):
    apply(validated, seen(validated, dkim1="missing", dkim2=other), NOW + HOUR)
    assert signing(validated) == "r1"


def test_a_selector_whose_new_key_was_not_seen_takes_over_from_none(validated):
    validated.keys.filter(slot=2).update(usable_at=None)
    apply(validated, seen(validated, dkim1="missing"), NOW + HOUR)
    assert signing(validated) == "r1"


def test_without_its_bounce_record_a_domain_has_a_return_path_of_ours_until_it_is_back(validated):
    apply(validated, seen(validated, bounce="missing"), NOW + HOUR)
    assert validated.own_return_path
    apply(validated, seen(validated, bounce="error"), NOW + 2 * HOUR)
    apply(validated, seen(validated, bounce="spreading"), NOW + 3 * HOUR)
    assert validated.own_return_path
    apply(validated, seen(validated), NOW + 4 * HOUR)
    assert not validated.own_return_path
    lines = validated.events.filter(kind=Kind.RETURN_PATH).order_by("id")
    assert [line.detail["own"] for line in lines] == [True, False]


def test_mail_on_its_way_from_a_domain_that_was_demoted_keeps_our_return_path(validated):
    apply(validated, seen(validated, bounce="missing"), NOW + HOUR)
    apply(validated, seen(validated, bounce="missing"), NOW + 73 * HOUR)
    assert validated.validated_at is None
    assert validated.own_return_path


def test_a_domain_that_was_never_validated_makes_do_with_nothing(domain):
    apply(domain, seen(domain, dkim1="missing", bounce="missing"), NOW)
    assert signing(domain) == "r1"
    assert not domain.own_return_path
    assert set(told(domain)) == {Kind.RECORD_CHANGED}


# Several accounts.


def test_a_name_that_another_account_has_validated_stays_there(validated):
    second = make_domain(make_account(), validated=False)
    make_keys(second)
    apply(second, seen(second), NOW + HOUR)
    assert second.validated_at is None
    assert owner_elsewhere(second) == validated
    assert owner_elsewhere(validated) is None
    validated.refresh_from_db()
    assert validated.validated_at == NOW
    assert told(validated) == []


def test_the_claim_record_moves_a_name_and_both_accounts_see_it_in_their_history(validated):
    second = make_domain(make_account(), validated=False)
    make_keys(second)
    apply(second, seen(second, claim=True), NOW + HOUR)
    assert second.validated_at == NOW + HOUR
    assert [kind for kind in told(second) if kind != Kind.RECORD_CHANGED] == [Kind.CLAIMED, Kind.VALIDATED]
    validated.refresh_from_db()
    assert validated.validated_at is None
    lost = validated.events.get()
    assert (lost.kind, lost.mail_owed, lost.by) == (Kind.LOST, True, "")


def test_a_claim_without_the_three_records_takes_nothing(validated):
    second = make_domain(make_account(), validated=False)
    make_keys(second)
    apply(second, seen(second, claim=True, bounce="missing"), NOW + HOUR)
    validated.refresh_from_db()
    assert validated.validated_at == NOW


def test_the_database_itself_knows_one_owner_only(validated):
    with pytest.raises(IntegrityError), transaction.atomic():
        make_domain(make_account(), validated.name.upper())


@pytest.mark.django_db(transaction=True)
def test_of_two_accounts_that_validate_a_name_in_the_same_moment_one_has_it(account):
    rivals = [make_domain(each, "race.example", validated=False) for each in (account, make_account())]
    for each in rivals:
        make_keys(each)
    pictures = [seen(each) for each in rivals]
    together = threading.Barrier(2)

    def run(domain, picture):
        together.wait()
        apply(domain, picture, NOW)
        connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in zip(rivals, pictures, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert Domain.objects.validated().filter(name="race.example").count() == 1
    loser = Domain.objects.get(name="race.example", validated_at=None)
    assert loser.checked_at == NOW


def test_who_loses_the_race_at_the_last_moment_sees_the_other_and_stays_as_it_was(validated, monkeypatch):
    second = make_domain(make_account(), validated=False)
    make_keys(second)
    answers = iter([True])
    real = life._may_have
    monkeypatch.setattr(life, "_may_have", lambda *args: next(answers, False) or real(*args))
    apply(second, seen(second), NOW + HOUR)
    assert second.validated_at is None
    assert second.checked_at == NOW + HOUR
    validated.refresh_from_db()
    assert validated.validated_at == NOW


# Pictures that come too late, and what a check costs the others.


def test_a_picture_older_than_what_somebody_else_saw_meanwhile_is_not_used(validated):
    slow = Domain.objects.get(pk=validated.pk)
    old = seen(slow, dkim1="missing")
    apply(validated, seen(validated), NOW + HOUR)
    apply(slow, old, NOW + HOUR)
    assert slow.failing_since is None
    assert told(slow) == []


def test_a_picture_of_another_return_path_host_is_not_used(validated):
    slow = Domain.objects.get(pk=validated.pk)
    Domain.objects.filter(pk=validated.pk).update(bounce_label="mail")
    apply(slow, seen(slow, bounce="missing"), NOW + HOUR)
    assert slow.failing_since is None


@pytest.mark.django_db(transaction=True)
def test_a_check_that_decides_nothing_leaves_submissions_memory_alone(validated):
    with connection.cursor() as cursor:
        cursor.execute("LISTEN relay_senders")
        apply(validated, seen(validated), NOW + HOUR)
        apply(validated, seen(validated, dkim1="error"), NOW + 2 * HOUR)
        assert list(connection.connection.notifies(timeout=0.2)) == []
        apply(validated, seen(validated, dkim1="missing"), NOW + 3 * HOUR)
        assert len(list(connection.connection.notifies(timeout=0.2))) == 1
        cursor.execute("UNLISTEN *")


def test_the_migrations_hold_everything_the_models_say():
    out = StringIO()
    call_command("makemigrations", check=True, dry_run=True, stdout=out)
    assert "No changes" in out.getvalue()
