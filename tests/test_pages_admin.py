"""The operators' admin: every table has its page, mail is read-only, and nothing counts."""

from ipaddress import ip_network

import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import reverse
from uuid_utils.compat import uuid7

from activity.models import MessageContent, StatusEvent, Suppression
from activity.status import Status
from domains.models import SmtpCredential
from tests.factories import make_account, make_credential, make_domain, make_email, make_message, make_user

pytestmark = pytest.mark.django_db

MODELS = [model for label in ("billing", "domains", "activity") for model in apps.get_app_config(label).get_models()]
MAIL = {"message", "messagecontent", "recipient", "statusevent"}


@pytest.fixture
def operator(client):
    client.force_login(make_user("operator@example.com", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def email():
    account = make_account(make_user())
    make_domain(account).make_keys()
    make_credential(account)
    Suppression.objects.create(account=account, address="gone@example.org", cause="manual")
    return make_email(account, "anne.roy@example.net", Status.DEFERRED)


def url_of(model, page, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_every_table_has_a_list_and_its_rows_a_page(operator, email, model):
    assert operator.get(url_of(model, "changelist")).status_code == 200
    row = model.objects.first()
    if row is not None and model is not StatusEvent:
        assert operator.get(url_of(model, "change", row.pk)).status_code == 200


@pytest.mark.parametrize("model", [model for model in MODELS if model._meta.model_name in MAIL])
def test_a_list_of_mail_never_counts_and_reads_only_one_page(
    operator, email, model, monkeypatch, django_assert_max_num_queries
):
    make_email(email.account)
    MessageContent.objects.bulk_create(MessageContent(id=uuid7(), body=b"") for _ in range(2))
    monkeypatch.setattr(admin.site._registry[model], "list_per_page", 1)
    with django_assert_max_num_queries(12) as queries:
        operator.get(url_of(model, "changelist"))
    touching = [query["sql"] for query in queries.captured_queries if model._meta.db_table in query["sql"]]
    assert touching
    for sql in touching:
        assert "COUNT(" not in sql
        assert "LIMIT" in sql


@pytest.mark.parametrize("model", [model for model in MODELS if model._meta.model_name in MAIL])
def test_mail_is_not_changed_by_hand(operator, model, rf):
    request = rf.get("/")
    request.user = make_user(is_superuser=True)
    page = admin.site._registry[model]
    assert not page.has_add_permission(request)
    assert not page.has_change_permission(request)
    assert not page.has_delete_permission(request)


def enter_networks(operator, credential, networks, **fields):
    """What the form of a credential says to these networks: nothing when it took them."""
    values = {"account": credential.account_id, "name": credential.name, "networks": networks, **fields}
    response = operator.post(url_of(SmtpCredential, "change", credential.pk), values)
    return [] if response.status_code == 302 else response.context["adminform"].form.errors["networks"]


def test_an_operator_binds_networks_that_overlap_nobody_elses(operator, settings):
    settings.PROXY_NETWORKS = [ip_network("192.0.2.0/24")]
    printer, scanner = (make_credential(make_account(), name=name)[0] for name in ("printer", "scanner"))
    assert enter_networks(operator, printer, "10.1.2.0/24, 2001:db8::/48") == []
    printer.refresh_from_db()
    assert printer.networks == ["10.1.2.0/24", "2001:db8::/48"]
    assert enter_networks(operator, printer, "10.1.2.0/24, 2001:db8::/48") == [], "its own are no others"
    [error] = enter_networks(operator, scanner, "10.1.0.0/16")
    assert error == f"10.1.0.0/16 overlaps 10.1.2.0/24, which belongs to the credential printer ({printer.username})."
    [error] = enter_networks(operator, scanner, "192.0.2.9/32")
    assert error.startswith("192.0.2.9/32 overlaps 192.0.2.0/24, which belongs to the load balancers")
    [error] = enter_networks(operator, scanner, "10.7.0.0/16, 10.7.1.0/24")
    assert error == "10.7.1.0/24 overlaps 10.7.0.0/16, which belongs to another one of these networks."
    printer.revoke()
    assert enter_networks(operator, scanner, "10.1.2.7/32") == []
    [error] = enter_networks(operator, printer, "10.1.2.0/24")
    assert "scanner" in error, "it would be usable again"


@pytest.mark.parametrize("network", ["10.1.2.3/24", "10.0.0.0/7", "0.0.0.0/0", "::/0", "printer", "10.1.2.0/33"])
def test_what_is_no_network_of_a_customer_is_not_bound(operator, network):
    credential, _ = make_credential(make_account())
    assert enter_networks(operator, credential, network)
    credential.refresh_from_db()
    assert credential.networks == []


@pytest.mark.parametrize("search", ["anne.roy@example.net", "ANNE.ROY@example.net", "id"])
def test_an_email_is_found_by_its_whole_address_or_id(operator, email, search):
    make_email(make_account(make_user()), "other@example.org")
    html = operator.get(
        url_of(type(email), "changelist"), {"q": email.pk if search == "id" else search}
    ).content.decode()
    assert "anne.roy@example.net" in html
    assert "other@example.org" not in html


def test_a_history_is_found_by_its_email(operator, email):
    html = operator.get(url_of(StatusEvent, "changelist"), {"q": email.pk}).content.decode()
    assert html.count(str(email.pk)) >= 3


def test_no_secret_is_shown(operator, email):
    key = email.account.domains.get().keys.first()
    html = operator.get(url_of(type(key), "change", key.pk)).content.decode()
    assert "v=DKIM1" in html
    assert "PRIVATE KEY" not in html


def test_an_operator_suspends_an_account_and_lets_it_send_again(operator, email):
    account = email.account
    for action, suspended in (("suspend", True), ("resume", False)):
        operator.post(url_of(type(account), "changelist"), {"action": action, "_selected_action": [account.pk]})
        account.refresh_from_db()
        assert bool(account.suspended_at) is suspended


def test_an_operator_revokes_a_credential(operator, email):
    credential = email.account.credentials.get()
    operator.post(url_of(type(credential), "changelist"), {"action": "revoke", "_selected_action": [credential.pk]})
    credential.refresh_from_db()
    assert credential.revoked_at is not None


def test_a_customer_is_no_operator(client, email):
    client.force_login(email.account.members.get())
    assert client.get("/admin/").status_code == 302


def test_contents_stay_unread(operator, email):
    message = make_message(email.account, subject="Only the subject")
    assert "Only the subject" in operator.get(url_of(type(message), "changelist")).content.decode()
