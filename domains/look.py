"""One look at a domain's DNS: its three records, whoever runs it, and advice beside them."""

import asyncio
import re
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings

from domains import dns_hosts
from domains.advice import advise
from domains.answers import MOST_HOPS, Answer, Kind, failure
from domains.asking import Asker
from domains.finding import Finding, Picture, State
from domains.judging import Wanted, conflict, has_key, judge
from domains.life import owner_elsewhere
from domains.models import Domain
from domains.records import claim_record_of, records_of

SECONDS = 5.0  # for each record, whatever its name servers do
# What may stand where the CNAME should be.
OTHER_TYPES = ("TXT", "A", "AAAA", "MX", "NS")


@dataclass(frozen=True, slots=True)
class Subject:
    """What has to be known of a domain to look at it. `keys`: {record key: the p= value we hold}.

    `claim`: the name and text of the TXT record that would take the domain from another account that validated it.
    """

    name: str
    wanted: dict[str, Wanted]
    keys: dict[str, str]
    claim: tuple[str, str] | None


def subject_of(domain: Domain) -> Subject:
    """Two queries at most; none if the keys are prefetched."""
    records = records_of(domain)
    targets = {record.key: record.target for record in records}
    wanted = {
        record.key: Wanted(
            record.name,
            record.target,
            domain.name,
            settings.ZONE,
            tuple(target for key, target in targets.items() if key != record.key),
            _known(domain, record.key),
        )
        for record in records
    }
    keys = {f"dkim{key.slot}": key.public_key for key in domain.keys.all()}
    claim = None
    if domain.validated_at is None and owner_elsewhere(domain) is not None:
        record = claim_record_of(domain)
        claim = record.name, record.value
    return Subject(domain.name, wanted, keys, claim)


def _known(domain: Domain, key: str) -> str:
    found = domain.found.get(key, {})
    return next(iter(found.get("found", ())), "") if found.get("last") == State.VALIDATED else ""


def look_now(domain: Domain) -> Picture:
    """With nothing remembered, for somebody who waits: SECONDS and a little."""
    return async_to_sync(_look_fresh)(subject_of(domain))


async def _look_fresh(subject: Subject) -> Picture:
    return await look(subject, Asker())


async def look(subject: Subject, asker: Asker) -> Picture:
    """Never raises for what the DNS does. All side by side, so that silent servers cost SECONDS once."""
    late = Finding(State.ERROR, problem="time-out")
    bounce_host = subject.wanted["bounce"].name
    findings, servers, claim, advice = await asyncio.gather(
        asyncio.gather(*(_in_time(_record(subject, key, asker), late) for key in subject.wanted)),
        _in_time(asker.servers_of(subject.name), []),
        _in_time(_claimed(subject, asker), False),
        _in_time(advise(subject.name, bounce_host, asker), {}),
    )
    records = dict(zip(subject.wanted, findings, strict=True))
    names = tuple(server.name for server in servers)
    validated = [key for key in subject.keys if records[key].state is State.VALIDATED]
    return Picture(
        records=records,
        claim=claim,
        dns_host=dns_hosts.host_of(names),
        name_servers=names,
        advice=advice,
        keys={f"r{key[-1]}": subject.keys[key] for key in validated},
    )


async def _in_time[T](work: Coroutine[Any, Any, T], otherwise: T) -> T:
    try:
        async with asyncio.timeout(SECONDS):
            return await work
    except TimeoutError:
        return otherwise


async def _record(subject: Subject, key: str, asker: Asker) -> Finding:
    wanted = subject.wanted[key]
    own, (seen, usable) = await asyncio.gather(
        asker.authoritative(wanted.name, "CNAME"),
        _bounce(wanted, asker) if key == "bounce" else _dkim(wanted, subject.keys.get(key, ""), asker),
    )
    if seen.problem == "servfail":
        seen = await _walked(wanted.name, seen, asker)
    finding = judge(wanted, own, seen, usable=usable)
    # Whoever answered once will again; nobody need wait for the others.
    answering = [answer.server for answer in own if answer.kind is not Kind.ERROR][:2]
    if finding.state is State.WRONG:
        return await _wildcard(wanted, finding, "CNAME", finding.found, answering, asker)
    if finding.state is not State.MISSING:
        return finding
    others = await asyncio.gather(*(_standing(wanted.name, rdtype, answering, asker) for rdtype in OTHER_TYPES))
    found = conflict(list(zip(OTHER_TYPES, others, strict=True)), key)
    if found is None:
        return await _misplaced(wanted, finding, answering, asker)
    rdtype, answer = next((rdtype, each) for rdtype, each in zip(OTHER_TYPES, others, strict=True) if each.values)
    return await _wildcard(wanted, found, rdtype, answer.values, answering, asker)


async def _walked(name: str, seen: Answer, asker: Asker) -> Answer:
    """Of aliases that lead round in a circle a resolver says only that it failed: follow them one by one."""
    passed = [name]
    while len(passed) <= MOST_HOPS:
        step = await asker.resolve(passed[-1], "CNAME")
        if not step.values:
            return seen
        if step.values[0] in passed:
            break
        passed.append(step.values[0])
    return failure("loop")


async def _dkim(wanted: Wanted, public: str, asker: Asker) -> tuple[Answer, bool]:
    seen = await asker.resolve(wanted.name, "TXT")
    return seen, wanted.target in seen.chain and has_key(seen.values, public)


async def _bounce(wanted: Wanted, asker: Asker) -> tuple[Answer, bool]:
    """Reports must find us, and SPF of the return path must be there for whoever checks it."""
    seen, texts = await asyncio.gather(asker.resolve(wanted.name, "MX"), asker.resolve(wanted.name, "TXT"))
    ours = any(value.endswith(f" mx.{wanted.zone}") for value in seen.values)
    spf = [text for text in texts.values if text.lower().startswith("v=spf1")]
    return seen, wanted.target in seen.chain and ours and len(spf) == 1


async def _standing(name: str, rdtype: str, servers: Collection[str], asker: Asker) -> Answer:
    answers = await asker.authoritative(name, rdtype, servers)
    said = next((answer for answer in answers if answer.kind is not Kind.ERROR), None)
    return said or await asker.resolve(name, rdtype)


async def _wildcard(
    wanted: Wanted, finding: Finding, rdtype: str, values: Sequence[str], servers: Collection[str], asker: Asker
) -> Finding:
    """RFC 4592 2.1.1: asked for by its own name, a wildcard shows what it answers for names that are not there."""
    inner = wanted.name.removesuffix(wanted.domain).removesuffix(".").split(".")
    # The outermost first, for it answers for the inner ones too.
    places = [f"*.{'.'.join([*inner[above:], wanted.domain])}" for above in range(len(inner), 0, -1)]
    for place, answer in zip(
        places,
        await asyncio.gather(*(_standing(place, rdtype, servers, asker) for place in places)),
        strict=True,
    ):
        if set(values) & set(answer.values):
            return Finding(State.MISSING, (place,), "wildcard", answer.server, finding.ttl)
    return finding


async def _misplaced(wanted: Wanted, finding: Finding, servers: Collection[str], asker: Asker) -> Finding:
    """Nothing is at the name: perhaps it was entered at one that people enter by mistake."""
    places = misplacements(wanted)
    answers = await asyncio.gather(*(_standing(name, "CNAME", servers, asker) for name in places.values()))
    for (problem, name), answer in zip(places.items(), answers, strict=True):
        if wanted.target in answer.values:
            return Finding(State.MISSING, (name,), problem, answer.server, finding.ttl)
    return finding


def misplacements(wanted: Wanted) -> dict[str, str]:
    """{problem: the name at which the record then stands}"""
    relative = wanted.name.removesuffix(f".{wanted.domain}")
    places = {"domain_twice": f"{wanted.name}.{wanted.domain}", "relative_twice": f"{relative}.{wanted.name}"}
    if "_domainkey" in relative:
        places["no_underscore"] = re.sub(r"_domainkey", "domainkey", wanted.name)
        places["name_cut"] = wanted.name.replace("._domainkey", "")
    return {problem: name for problem, name in places.items() if len(name) <= 253}


async def _claimed(subject: Subject, asker: Asker) -> bool:
    """Whether every authoritative server that answers shows the claim."""
    if subject.claim is None:
        return False
    name, value = subject.claim
    said = [each for each in await asker.authoritative(name, "TXT") if each.kind is not Kind.ERROR]
    return bool(said) and all(value in answer.values for answer in said)
