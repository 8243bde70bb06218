"""What customers type on the Domains and Set-up pages."""

import re
from collections.abc import Mapping

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from billing.models import Account
from domains.models import Domain
from domains.senders import ascii_name

# RFC 1035 2.3.4: labels of at most 63 octets; a name that takes records has at least two of them.
NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
# The return-path host stands in front of the name, and the whole is at most 253 octets.
LONGEST = 253 - len("r1._domainkey.")


def normalised(name: str) -> str:
    """Lower case, without the last dot, an internationalised name as its A-labels; raises ValidationError."""
    name = ascii_name(name.strip().rstrip("."))
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise ValidationError(_("Enter a domain such as example.com."), code="domain")
    return name


class DomainForm(forms.Form):
    name = forms.CharField(
        label=_("Domain"),
        max_length=253,
        widget=forms.TextInput(
            attrs={"placeholder": "example.com", "autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"}
        ),
    )

    def clean_name(self) -> str:
        return normalised(self.cleaned_data["name"])


class CredentialForm(forms.Form):
    name = forms.CharField(
        label=_("Which software uses it"),
        max_length=60,
        widget=forms.TextInput(attrs={"placeholder": "shop-web", "autocomplete": "off"}),
    )
    domain = forms.ModelChoiceField(
        label=_("May send for"),
        queryset=Domain.objects.none(),
        required=False,
        empty_label=_("Every validated domain"),
    )

    def __init__(self, account: Account, data: Mapping[str, str] | None = None) -> None:
        super().__init__(data)
        self.fields["domain"].queryset = account.domains.order_by("name")  # type: ignore[attr-defined]


class TestEmailForm(forms.Form):
    recipient = forms.EmailField(label=_("Send it to"), max_length=254)
