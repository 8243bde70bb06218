"""Advice beside the three records: it never keeps a domain from sending."""

import asyncio
from collections.abc import Sequence

from domains.answers import MOST_CHARACTERS, Answer, Kind
from domains.asking import Asker
from domains.finding import Finding, State
from domains.judging import finding_of
from domains.names import organisational

SUGGESTED = "v=DMARC1; p=none; rua=mailto:dmarc@{domain}"


async def advise(domain: str, bounce_host: str, asker: Asker) -> dict[str, Finding]:
    """{"dmarc": …, "mx": …}; each VALIDATED when there is nothing to do."""
    dmarc, mx = await asyncio.gather(_dmarc(domain, bounce_host, asker), _mx(domain, asker))
    return {"dmarc": dmarc, "mx": mx}


async def _dmarc(domain: str, bounce_host: str, asker: Asker) -> Finding:
    """RFC 7489 6.6.3: the domain's own policy, else that of the registered domain above it."""
    own, inherited = await asker.resolve(f"_dmarc.{domain}", "TXT"), None
    above = organisational(domain)
    if above != domain and own.kind is not Kind.ERROR and not policies(own):
        inherited = await asker.resolve(f"_dmarc.{above}", "TXT")
    return judge_dmarc(domain, bounce_host, own, inherited)


async def _mx(domain: str, asker: Asker) -> Finding:
    mx = await asker.resolve(domain, "MX")
    if mx.kind is Kind.ERROR or mx.values:
        return judge_mx(mx)
    return judge_mx(mx, await asyncio.gather(asker.resolve(domain, "A"), asker.resolve(domain, "AAAA")))


def judge_dmarc(domain: str, bounce_host: str, own: Answer, inherited: Answer | None = None) -> Finding:
    """DKIM is aligned whatever the policy says, for what we sign with is the domain in From itself."""
    answer = inherited or own
    if answer.kind is Kind.ERROR:
        return finding_of(State.ERROR, (), answer.problem, answer)
    found = policies(answer)
    if not found:
        return finding_of(State.MISSING, (), "dmarc_missing", own)
    if len(found) > 1:
        return finding_of(State.SEVERAL, found, "dmarc_several", answer)
    tags = _tags(found[0])
    # RFC 7489 6.3: an inherited policy may have other words for domains below.
    policy = tags.get("sp", tags.get("p")) if inherited else tags.get("p")
    if policy not in ("none", "quarantine", "reject"):
        return finding_of(State.WRONG, found, "dmarc_invalid", answer)
    if problem := _apart(domain, bounce_host, tags):
        return finding_of(State.WRONG, found, problem, answer)
    return finding_of(State.VALIDATED, found, "dmarc_none" if policy == "none" else "", answer)


def _apart(domain: str, bounce_host: str, tags: dict[str, str]) -> str:
    """RFC 7489 3.1.2: why SPF of the return path would not count for the domain in From."""
    if tags.get("aspf") == "s" and bounce_host != domain:
        return "dmarc_strict_spf"
    return "" if organisational(bounce_host) == organisational(domain) else "dmarc_spf_apart"


def judge_mx(mx: Answer, addresses: Sequence[Answer] = ()) -> Finding:
    """Whether somebody who answers an email reaches anybody (RFC 5321 5.1, RFC 7505)."""
    if mx.kind is Kind.ERROR:
        return finding_of(State.ERROR, (), mx.problem, mx)
    if any(value.split(" ", 1)[-1] == "." for value in mx.values):
        return finding_of(State.MISSING, mx.values, "mx_null", mx)
    if mx.values or any(answer.values for answer in addresses):
        return finding_of(State.VALIDATED, mx.values, "", mx)
    if trouble := [answer for answer in addresses if answer.kind is Kind.ERROR]:
        return finding_of(State.ERROR, (), trouble[0].problem, trouble[0])
    return finding_of(State.MISSING, (), "mx_missing", mx)


def suggested(domain: str, problem: str, found: list[str]) -> str:
    """The text of a DMARC record that would be better; empty where there is nothing better to paste."""
    changed = {"dmarc_none": {"p": "quarantine"}, "dmarc_strict_spf": {"aspf": "r"}}.get(problem)
    if changed:
        # One that was too long to be kept whole cannot be repeated.
        return _with(found[0], **changed) if found and len(found[0]) < MOST_CHARACTERS else ""
    return SUGGESTED.format(domain=domain) if problem in ("dmarc_missing", "dmarc_several", "dmarc_invalid") else ""


def _with(policy: str, **changed: str) -> str:
    """The policy with other values for some of its tags; the others as they are."""
    parts = [part.strip() for part in policy.split(";") if part.strip()]
    names = [part.partition("=")[0].strip().lower() for part in parts]
    return "; ".join(
        f"{name}={changed[name]}" if name in changed else part for name, part in zip(names, parts, strict=True)
    )


def policies(answer: Answer) -> tuple[str, ...]:
    return tuple(value for value in answer.values if _is_dmarc(value))


def _is_dmarc(text: str) -> bool:
    """RFC 7489 6.3: the version is the first tag."""
    name, _, value = text.partition(";")[0].partition("=")
    return name.strip().lower() == "v" and value.strip().lower() == "dmarc1"


def _tags(policy: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in policy.lower().split(";") if part.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}
