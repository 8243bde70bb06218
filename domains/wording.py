"""What is different about a record, in plain words: one sentence for each problem that a look can find.

A sentence may name what was found, the record’s name and target, and the domain; never another account’s.
"""

from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from domains.records import CustomerRecord

PROBLEMS: dict[str, Promise] = {
    # Not found.
    "domain_twice": _(
        "You pasted the domain twice: the record stands at %(found)s. Your DNS host adds the domain by itself, so "
        "enter only %(relative)s as the name."
    ),
    "relative_twice": _("The beginning of the name stands there twice: the record is at %(found)s."),
    "no_underscore": _("The underscore is missing: the record stands at %(found)s. The name has “_domainkey” in it."),
    "name_cut": _("A part of the name is missing: the record stands at %(found)s, without “_domainkey”."),
    "wildcard": _(
        "Nothing is entered at this name, so the wildcard record %(found)s answers for it. Enter the CNAME: the "
        "wildcard may stay."
    ),
    # A wrong target.
    "target_with_domain": _(
        "Your DNS host added %(domain)s to the target. Enter the target with a dot at its end: %(target)s."
    ),
    "url": _("The target is a web address. Enter only the name, without “https://” and without a slash."),
    "swapped": _("This is the target of another of the three records: two of them were mixed up."),
    "points_at_itself": _("The record leads to itself: name and target were mixed up."),
    "cut_off": _("A part of the target is missing. Copy it again with the button beside it."),
    "too_much": _("Something was added to the target. It ends with “%(end)s”."),
    "old_token": _(
        "It leads to us, but not to this domain’s records: perhaps it was entered for an earlier set-up. Copy the "
        "target again."
    ),
    "other_target": _("It leads somewhere else. Replace it by the target on this page."),
    "loop": _("It leads round in a circle, so nobody can follow it."),
    "several": _("There are several CNAME records at this name. Leave only the one on this page."),
    # Other records instead.
    "txt_key": _(
        "Somebody entered the key itself as a TXT record. Delete that record and enter the CNAME: then we can renew "
        "the key without you."
    ),
    "proxied": _(
        "There is an address instead of a CNAME. At Cloudflare switch the record to “DNS only”; elsewhere delete the A "
        "record or the wildcard and enter the CNAME."
    ),
    "copied": _("There are MX or TXT records at this name. A CNAME must stand alone: delete them first."),
    "other_records": _("There are other records at this name. A CNAME must stand alone: delete them first."),
    # On its way.
    "some_servers": _(
        "Some of your name servers show the new value, but %(server)s does not yet. Nothing to do: wait."
    ),
    "resolver": _(
        "Your name servers show it. Others still remember that it was not there; that passes by itself%(wait)s."
    ),
    "our_zone": _("Your record is right. Our own name servers do not show its target everywhere yet; that is on us."),
    # No answer.
    "time-out": _("Your name servers did not answer in time. We will ask again."),
    "servfail": _("Your name servers answered with an error (SERVFAIL). We will ask again."),
    "bogus": _(
        "The DNSSEC signatures of the domain are not valid, so resolvers refuse to answer. Whoever runs your DNS has "
        "to mend them: look at the DS record at your registrar."
    ),
    "refused": _("The name server %(server)s refused to answer. We will ask again."),
    "lame": _("The name server %(server)s does not know your domain, although the domain names it as one of its own."),
    "alias_error": _(
        "It leads to %(found)s, which cannot be looked up at the moment. If that is no alias of yours, replace it by "
        "the target on this page."
    ),
    "bad-name": _("This name cannot be asked for."),
    # Advice.
    "dmarc_missing": _("There is no DMARC record. Large mailbox providers want one; this one only asks for reports."),
    "dmarc_several": _("There are several DMARC records, so receivers ignore all of them. Leave one."),
    "dmarc_invalid": _("The DMARC record has no valid policy (p=none, p=quarantine or p=reject)."),
    "dmarc_strict_spf": _(
        "aspf=s makes SPF pass only for %(domain)s itself, not for its return-path host. DKIM still passes, so mail "
        "arrives; remove aspf=s to have both."
    ),
    "dmarc_spf_apart": _(
        "The return-path host belongs to another registered domain than %(domain)s, so SPF does not count for DMARC. "
        "DKIM still passes, so mail arrives; another label for the host mends it."
    ),
    "dmarc_none": _(
        "The policy only watches (p=none). Once the reports show only your own mail, p=quarantine protects the name."
    ),
    "mx_missing": _(
        "The domain takes no mail itself: whoever answers one of your emails gets a bounce. Add an MX record."
    ),
    "mx_null": _("The domain says that it takes no mail (null MX): whoever answers one of your emails gets a bounce."),
}


def explain(found: dict[str, Any], record: CustomerRecord, domain: str) -> str:
    """The sentence for a finding as it lies in Domain.found; empty where there is nothing to say."""
    values = found.get("found") or [""]
    return sentence(
        found.get("problem", ""),
        {
            "found": values[0],
            "relative": record.name.removesuffix(f".{domain}"),
            "target": f"{record.target}.",
            "end": record.target.rpartition(".")[2],
            "domain": domain,
            "server": found.get("server") or str(_("one of them")),
            "wait": _wait(found.get("ttl", 0)),
        },
    )


def sentence(problem: str, names: dict[str, str]) -> str:
    """A problem in words; empty for none."""
    return str(PROBLEMS[problem]) % names if problem in PROBLEMS else ""


def _wait(seconds: int) -> str:
    if not seconds:
        return ""
    minutes = max(1, round(seconds / 60))
    return ngettext(" within %(n)d minute", " within %(n)d minutes", minutes) % {"n": minutes}
