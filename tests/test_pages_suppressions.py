"""The Suppressions page and what other pages say of it. Alice owns, Charlie must see nothing."""

import contextlib
import csv
import io
import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity import csv_files
from activity.addresses import normalised, well_formed
from activity.models import Suppression, SuppressionRemoval
from activity.status import Status
from activity.suppress import Cause, suppress
from activity.suppression_views import PAGE
from tests.factories import make_account, make_email, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def account():
    return make_account(make_user("alice@example.com"), name="Boutique")


@pytest.fixture
def alices(client, account):
    client.force_login(account.members.get())
    return client


@pytest.fixture
def charlies(client):
    charlie = make_user("charlie@example.com")
    make_account(charlie, name="Elsewhere")
    client.force_login(charlie)
    return client


def page(client, **query):
    response = client.get("/suppressions/", query)
    assert response.status_code == 200
    return response.content.decode()


def listed(html):
    return re.findall(r'<label for="s-\d+">([^<]+)</label>', html)


def post(client, name, data=None, **more):
    response = client.post(reverse(f"suppressions:{name}"), data or {}, follow=True, **more)
    assert response.status_code == 200
    return response.content.decode()


def import_text(client, text, name="list.csv"):
    raw = text if isinstance(text, bytes) else text.encode()
    return post(client, "import", {"file": SimpleUploadedFile(name, raw)})


def exported(client):
    return b"".join(client.get(reverse("suppressions:export")).streaming_content).decode()


class TestTheList:
    def test_the_newest_entry_comes_first_with_its_cause_and_its_email(self, alices, account):
        email = make_email(account, "gone@example.org", Status.HARD_BOUNCE)
        suppress(account.id, "old@example.org", Cause.MANUAL)
        suppress(account.id, "gone@example.org", Cause.HARD_BOUNCE, email.id)
        html = page(alices)
        assert listed(html) == ["gone@example.org", "old@example.org"]
        assert reverse("activity:email", args=[email.pk]) in html
        assert "Added by hand" in html

    def test_it_is_walked_page_by_page_without_gap_or_repetition(self, alices, account):
        for number in range(PAGE + 3):
            suppress(account.id, f"n{number}@example.org", Cause.MANUAL)
        first = page(alices)
        older = re.search(r'href="\?(before=\d+)" rel="next"', first)[1]
        second = alices.get(f"/suppressions/?{older}").content.decode()
        assert len(set(listed(first) + listed(second))) == PAGE + 3
        assert "Newest entries" in second

    @pytest.mark.parametrize("search", ["anne", "ROY@exam", " anne.roy@example.net "])
    def test_a_part_of_an_address_finds_it(self, alices, account, search):
        for address in ("anne.roy@example.net", "marie@example.org"):
            suppress(account.id, address, Cause.MANUAL)
        assert listed(page(alices, q=search)) == ["anne.roy@example.net"]

    @pytest.mark.parametrize("query", ["before=x", "before=99999999999999999999", "q=%00", "q=" + "a" * 5000])
    def test_a_broken_link_still_shows_a_list(self, alices, query):
        assert alices.get(f"/suppressions/?{query}").status_code == 200

    def test_htmx_gets_only_the_list(self, alices, account):
        suppress(account.id, "a@example.org", Cause.MANUAL)
        response = alices.get("/suppressions/?q=a", headers={"HX-Request": "true", "HX-Target": "browse"})
        assert "<html" not in response.content.decode()
        assert listed(response.content.decode()) == ["a@example.org"]

    def test_a_stranger_sees_nothing_of_it(self, charlies, account):
        suppress(account.id, "secret@example.org", Cause.MANUAL)
        assert "secret@example.org" not in page(charlies)
        assert "secret@example.org" not in page(charlies, q="secret")
        assert "secret@example.org" not in exported(charlies)

    def test_what_strangers_wrote_is_escaped(self, alices, account):
        suppress(account.id, '"<script>"@example.org', Cause.MANUAL)
        assert "<script>&" not in page(alices)
        assert "&lt;script&gt;" in page(alices)


class TestAdding:
    def test_an_address_is_added_in_its_normal_form(self, alices, account):
        assert "We will not send to" in post(alices, "add", {"address": " Marie@EXAMPLE.org "})
        entry = account.suppressions.get()
        assert (entry.address, entry.cause) == ("marie@example.org", "manual")

    def test_a_second_time_is_told(self, alices):
        post(alices, "add", {"address": "marie@example.org"})
        assert "on your list already" in post(alices, "add", {"address": "MARIE@example.org"})

    def test_what_is_no_address_is_refused_beside_the_field(self, alices, account):
        assert "Enter an address such as" in post(alices, "add", {"address": "marie"})
        assert not account.suppressions.exists()


class TestRemoving:
    def test_several_go_at_once_and_the_reason_is_kept(self, alices, account):
        for number in range(3):
            suppress(account.id, f"n{number}@example.org", Cause.MANUAL)
        ids = account.suppressions.filter(address__lt="n2").values_list("id", flat=True)
        html = post(alices, "remove", {"entry": list(ids), "reason": "they asked to come back"})
        assert "2 addresses removed" in html
        assert listed(html) == ["n2@example.org"]
        assert "they asked to come back" in html
        assert {removal.removed_by.email for removal in SuppressionRemoval.objects.all()} == {"alice@example.com"}

    def test_a_stranger_removes_nothing(self, charlies, account):
        suppress(account.id, "a@example.org", Cause.MANUAL)
        post(charlies, "remove", {"entry": [account.suppressions.get().id]})
        assert account.suppressions.count() == 1

    @pytest.mark.parametrize("entry", ["", "x", "-1", "9" * 30, "²"])
    def test_nonsense_removes_nothing_and_says_so(self, alices, account, entry):
        assert "Tick the addresses" in post(alices, "remove", {"entry": entry})


class TestOnThePageOfAnEmail:
    @pytest.fixture
    def bounced(self, account):
        email = make_email(account, "Gone@example.org", Status.HARD_BOUNCE)
        suppress(account.id, email.address, Cause.HARD_BOUNCE, email.id)
        return email

    def test_a_hard_bounce_says_that_we_will_not_send_there_again(self, alices, bounced):
        html = alices.get(reverse("activity:email", args=[bounced.pk])).content.decode()
        assert "We will not send there again" in html
        assert 'href="/suppressions/?q=gone%40example.org"' in html

    def test_one_click_undoes_it(self, alices, account, bounced):
        response = alices.post(reverse("activity:unsuppress", args=[bounced.pk]), follow=True)
        html = response.content.decode()
        assert "You can send to Gone@example.org again." in html
        assert "We will not send there again" not in html
        assert not account.suppressions.exists()
        assert SuppressionRemoval.objects.get().reason

    def test_a_rejected_email_leads_to_the_entry(self, alices, account, bounced):
        email = make_email(account, "gone@EXAMPLE.org", Status.REJECTED, reason="suppressed")
        html = alices.get(reverse("activity:email", args=[email.pk])).content.decode()
        assert 'href="/suppressions/?q=gone%40example.org"' in html

    def test_a_stranger_undoes_nothing(self, charlies, account, bounced):
        assert charlies.post(reverse("activity:unsuppress", args=[bounced.pk])).status_code == 404
        assert account.suppressions.exists()


class TestFiles:
    def test_what_is_exported_can_be_imported_again(self, alices, account):
        addresses = {
            "=cmd@example.org",
            "+plus@example.org",
            "'quote@example.org",
            "jörg@bücher.example",
            "a@b.example",
        }
        for address in addresses:
            suppress(account.id, address, Cause.COMPLAINT)
        before = set(account.suppressions.values_list("address", "cause"))
        text = exported(alices)
        account.suppressions.all().delete()
        assert "5 addresses added" in import_text(alices, text)
        assert set(account.suppressions.values_list("address", "cause")) == before

    @pytest.mark.parametrize("address", ["=cmd@example.org", "+a@example.org", "-a@example.org", "'=a@example.org"])
    def test_no_cell_is_a_formula(self, alices, account, address):
        suppress(account.id, address, Cause.MANUAL)
        for row in csv.reader(io.StringIO(exported(alices))):
            for cell in row:
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))

    @pytest.mark.parametrize(
        "text",
        [
            "marie@example.org\nanne@example.org\n",
            "Email\nmarie@example.org\nanne@example.org",
            "\ufeffname;E-mail\r\nMarie;Marie@example.org\r\nAnne;anne@example.org\r\n",
            'reason\taddress\n"a\nb"\tmarie@example.org\n\n\tanne@example.org\n',
            "marie@example.org\nMARIE@EXAMPLE.ORG\nanne@example.org\n",
        ],
    )
    def test_files_of_many_programs_are_read(self, alices, account, text):
        assert "2 addresses added" in import_text(alices, text)
        assert set(account.suppressions.values_list("address", flat=True)) == {"marie@example.org", "anne@example.org"}

    def test_each_bad_row_is_told_and_the_good_ones_count(self, alices, account):
        html = import_text(alices, "address\na@example.org\nnobody\n,x\n<b>@example.org\n")
        assert "1 address added" in html
        assert "3 rows were left out" in html
        assert "&lt;b&gt;@example.org" in html
        assert "Line 3: <code>nobody</code> is not an email address" in html
        assert "Line 4: <code></code> has no address" in html
        assert account.suppressions.filter(address="a@example.org").exists()

    def test_a_bad_rows_line_is_that_of_the_file_even_behind_cells_with_line_ends(self, alices):
        html = import_text(alices, 'note,address\n"two\nlines",a@example.org\n"three\n\nlines",nobody\n')
        assert "1 address added" in html
        assert "Line 4: <code>nobody</code> is not an email address" in html

    @pytest.mark.parametrize(
        ("raw", "why"),
        [
            (b"\xff\xfe\x00", "not text in UTF-8"),
            (b"a@example.org\n" * (csv_files.MAX_ROWS + 1) + b"b" * 10, "added"),
            (b"".join(b"a%d@example.org\n" % n for n in range(csv_files.MAX_ROWS + 1)), "more than 50000 rows"),
            (b"x" * (csv_files.MAX_BYTES + 1), "larger than 5 MB"),
            (b"x" * 200_000, "not CSV"),
        ],
    )
    def test_a_file_that_cannot_be_taken_says_why(self, alices, raw, why):
        assert why in import_text(alices, raw)

    def test_without_a_file_it_asks_for_one(self, alices):
        assert "Choose a CSV file" in post(alices, "import")

    def test_an_upload_that_is_far_too_large_is_given_up(self, alices, monkeypatch):
        monkeypatch.setattr("activity.uploads.MOST_BYTES", 1000)
        assert "Choose a CSV file" in import_text(alices, "x" * 70_000)

    def test_many_rows_are_added_in_one_go(self, alices, account):
        html = import_text(alices, "".join(f"n{n}@example.org\n" for n in range(5_000)))
        assert "5,000 addresses added" in html
        assert account.suppressions.count() == 5_000

    @given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
    def test_no_file_breaks_it(self, raw):
        with contextlib.suppress(csv_files.Unreadable):
            imported = csv_files.read(raw)
            assert all(well_formed(address) for address in imported.good if address.isascii())

    @given(st.text(max_size=60))
    def test_a_guarded_cell_is_unguarded_to_what_it_was(self, cell):
        assert csv_files.unguarded(csv_files.guarded(cell)) == cell
        assert not csv_files.guarded(cell).startswith(("=", "+", "-", "@", "\t", "\r"))

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
    @given(st.lists(st.from_regex(r"[=+'@;,\"a-z-]{1,8}@[a-z]{1,5}\.[a-z]{2,4}", fullmatch=True), max_size=5))
    def test_every_list_survives_its_export(self, addresses):
        good = {normalised(address) for address in addresses if well_formed(address)}
        entries = [Suppression(address=each, cause="manual", created_at=timezone.now()) for each in sorted(good)]
        imported = csv_files.read("".join(csv_files.write(entries)).encode())
        assert (set(imported.good), imported.bad) == (good, [])
