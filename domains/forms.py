"""What customers type on the Domains and Set-up pages."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from billing.models import Account
from domains.models import Domain
from domains.names import normalised


class DomainForm(forms.Form):
    name = forms.CharField(
        label=_("Domain"),
        # Room for a whole URL that is pasted.
        max_length=2000,
        widget=forms.TextInput(
            attrs={"placeholder": "example.com", "autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"}
        ),
    )

    def clean_name(self) -> str:
        return normalised(self.cleaned_data["name"])


class BounceLabelForm(forms.Form):
    """The label before the domain that makes its return-path host."""

    label = forms.CharField(
        label=_("Label of the return-path host"),
        max_length=63,
        # RFC 1035 2.3.4.
        validators=[
            RegexValidator(
                r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\Z", _("Letters, digits and hyphens, such as “bounce”.")
            )
        ],
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"}),
    )

    def __init__(self, domain: Domain, data: Mapping[str, str] | None = None, **options: Any) -> None:
        super().__init__(data, **options)
        self.domain = domain

    def clean_label(self) -> str:
        label = str(self.cleaned_data["label"]).lower()
        if self.domain.account.domains.filter(name=f"{label}.{self.domain.name}").exists():
            raise ValidationError(_("That is one of your sending domains."), code="taken")
        return label


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
