"""Client networks from which a credential may be used without AUTH: what an operator may enter."""

from ipaddress import ip_network
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from domains.models import SmtpCredential
from domains.senders import Network, parse_network

# Wider ones would let strangers send as the customer.
WIDEST = {4: 8, 6: 32}


class NetworksForm(forms.ModelForm):  # type: ignore[type-arg]
    """A credential as operators change it. Each client address belongs to one credential at most, or to a proxy."""

    class Meta:
        model = SmtpCredential
        fields = ("account", "name", "domain", "networks", "send_dsn", "revoked_at")

    def clean_networks(self) -> list[str]:
        networks = [entered(text) for text in self.cleaned_data["networks"]]
        for number, network in enumerate(networks):
            refuse_overlap(network, networks[:number], _("another one of these networks"))
        return list(map(str, networks))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("networks") and cleaned.get("revoked_at") is None:
            try:
                self.refuse_taken([ip_network(text) for text in cleaned["networks"]])
            except ValidationError as error:
                self.add_error("networks", error)
        return cleaned

    def refuse_taken(self, networks: list[Network]) -> None:
        others = SmtpCredential.objects.usable().exclude(pk=self.instance.pk).exclude(networks=[])
        for network in networks:
            refuse_overlap(network, settings.PROXY_NETWORKS, _("the load balancers, which speak for anybody"))
            for other in others:
                taken = [known for known in map(parse_network, other.networks) if known is not None]
                refuse_overlap(network, taken, _("the credential %(name)s") % {"name": other})


def entered(text: str) -> Network:
    try:
        network = ip_network(text.strip())
    except ValueError as error:
        raise ValidationError(_("“%(text)s” is not a network: %(why)s.") % {"text": text, "why": error}) from None
    if network.prefixlen < WIDEST[network.version]:
        raise ValidationError(_("%(network)s is too wide.") % {"network": network})
    return network


def refuse_overlap(network: Network, taken: list[Network], whose: str) -> None:
    for other in taken:
        if network.version == other.version and network.overlaps(other):
            values = {"network": network, "other": other, "whose": whose}
            raise ValidationError(_("%(network)s overlaps %(other)s, which belongs to %(whose)s.") % values)
