"""Advice beside the three records: it never keeps a domain from sending."""

import asyncio

from domains.answers import Answer, Kind
from domains.asking import Asker
from domains.finding import Finding, State
from domains.judging import finding_of
from domains.names import organisational

SUGGESTED = "v=DMARC1; p=none; rua=mailto:dmarc@{domain}"


async def advise(domain: str, bounce_host: str, asker: Asker) -> dict[str, Finding]:
    """{"dmarc": …, "mx": …}; each VALIDATED when there is nothing to do."""
    above = organisational(domain)
    dmarc, inherited, mx, address = await asyncio.gather(
        asker.resolve(f"_dmarc.{domain}", "TXT"),
        asker.resolve(f"_dmarc.{above}", "TXT"),
        asker.resolve(domain, "MX"),
        asker.resolve(domain, "A"),
    )
    return {"dmarc": judge_dmarc(domain, bounce_host, dmarc, inherited), "mx": judge_mx(mx, address)}


def judge_dmarc(domain: str, bounce_host: str, own: Answer, inherited: Answer) -> Finding:
    """RFC 7489 6.6.3: the domain's own policy, else that of the registered domain above it."""
    if own.kind is Kind.ERROR:
        return finding_of(State.ERROR, (), own.problem, own)
    policies = _policies(own) or _policies(inherited)
    if not policies:
        return finding_of(State.MISSING, (), "dmarc_missing", own)
    if len(policies) > 1:
        return finding_of(State.SEVERAL, policies, "dmarc_several", own)
    tags = _tags(policies[0])
    if tags.get("p") not in ("none", "quarantine", "reject"):
        return finding_of(State.WRONG, policies, "dmarc_invalid", own)
    if tags.get("aspf") == "s" and bounce_host != domain:
        return finding_of(State.WRONG, policies, "dmarc_strict_spf", own)
    problem = "dmarc_none" if tags["p"] == "none" else ""
    return finding_of(State.VALIDATED, policies, problem, own)


def judge_mx(mx: Answer, address: Answer) -> Finding:
    """Whether somebody who answers an email reaches anybody (RFC 5321 5.1, RFC 7505)."""
    if mx.kind is Kind.ERROR:
        return finding_of(State.ERROR, (), mx.problem, mx)
    if any(value.split(" ", 1)[-1] in ("", ".", "@") for value in mx.values):
        return finding_of(State.MISSING, mx.values, "mx_null", mx)
    if not mx.values and not address.values:
        return finding_of(State.MISSING, (), "mx_missing", mx)
    return finding_of(State.VALIDATED, mx.values, "", mx)


def _policies(answer: Answer) -> tuple[str, ...]:
    return tuple(value for value in answer.values if value.lower().replace(" ", "").startswith("v=dmarc1"))


def _tags(policy: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in policy.lower().split(";") if part.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}
