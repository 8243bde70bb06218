"""What the answers about one record mean. Pure: the asking is done elsewhere.

The authoritative servers say what stands in the zone now; the resolver says whether a receiver can use it. Trouble on
the way is an ERROR, which proves nothing about the record.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from domains.answers import LONGEST_TTL, MOST_CHARACTERS, MOST_VALUES, Answer, Kind
from domains.finding import Finding, State


@dataclass(frozen=True, slots=True)
class Wanted:
    """A record as it should be. `siblings` are the targets of the same domain's other records.

    `known`: the value with which it was validated before, which may be an alias of the customer's own; or empty.
    """

    name: str
    target: str
    domain: str
    zone: str
    siblings: tuple[str, ...]
    known: str = ""


def judge(wanted: Wanted, own: Sequence[Answer], seen: Answer, *, usable: bool) -> Finding:
    """`own` are the authoritative servers' answers for CNAME, `seen` is what the resolver finds behind the name.

    `usable`: what stands at our target is what a receiver needs. MISSING may still be a CONFLICT: ask what else is.
    """
    said = [answer for answer in own if answer.kind is not Kind.ERROR]
    if not said:
        return _by_resolver(wanted, own, seen, usable=usable)
    values = _distinct(value for answer in said for value in answer.values)
    if any(len(answer.values) > 1 for answer in said):
        return finding_of(State.SEVERAL, values, "several")
    right = [answer for answer in said if answer.values and leads(wanted, answer.values[0], seen)]
    if len(right) == len(said):
        return _for_receivers(wanted, seen, values, usable=usable)
    other = next(answer for answer in said if answer not in right)
    if right:
        return finding_of(State.SPREADING, other.values, "some_servers", other)
    if not values:
        return finding_of(State.MISSING, (), "", other)
    return _elsewhere(wanted, values, other, seen)


def _elsewhere(wanted: Wanted, values: tuple[str, ...], own: Answer, seen: Answer) -> Finding:
    """It leads somewhere else; or to an alias of ours of which nobody can say at the moment where it ends."""
    problem = difference(wanted, values[0])
    if problem == "other_target" and seen.kind is Kind.ERROR:
        if seen.problem == "loop":
            problem = "loop"
        elif wanted.known in ("", values[0]):
            return finding_of(State.ERROR, values, "alias_error", own)
    return finding_of(State.SEVERAL if len(values) > 1 else State.WRONG, values, problem, own)


def leads(wanted: Wanted, value: str, seen: Answer) -> bool:
    """Directly, or by a chain of CNAME records that the resolver could follow (RFC 1034 3.6.2)."""
    return value == wanted.target or (value in seen.chain and wanted.target in seen.chain)


def _for_receivers(wanted: Wanted, seen: Answer, values: tuple[str, ...], *, usable: bool) -> Finding:
    """The zone is right: can a receiver see it yet?"""
    if usable:
        return finding_of(State.VALIDATED, values, "", seen)
    if seen.kind is Kind.ERROR:
        return finding_of(State.ERROR, (), seen.problem, seen)
    if wanted.target in seen.chain:
        return finding_of(State.SPREADING, values, "our_zone", seen)
    return finding_of(State.SPREADING, seen.chain[:1], "resolver", seen)


def _by_resolver(wanted: Wanted, own: Sequence[Answer], seen: Answer, *, usable: bool) -> Finding:
    """No authoritative server said anything: only what is right can be believed."""
    if usable:
        return finding_of(State.VALIDATED, seen.chain[:1], "", seen)
    if own:
        return finding_of(State.ERROR, (), own[0].problem, own[0])
    if seen.kind is Kind.ERROR:
        return finding_of(State.ERROR, (), seen.problem, seen)
    if wanted.target in seen.chain:
        return finding_of(State.SPREADING, seen.chain[:1], "our_zone", seen)
    if seen.chain:
        return finding_of(State.WRONG, seen.chain[:1], difference(wanted, seen.chain[0]), seen)
    return finding_of(State.MISSING, (), "", seen)


def difference(wanted: Wanted, found: str) -> str:
    """A key of domains/wording.py: in what way `found` is not the target."""
    target = wanted.target
    rules: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("target_with_domain", lambda: found == f"{target}.{wanted.domain}"),
        ("url", lambda: found.startswith(("http:", "https:")) or "/" in found),
        ("swapped", lambda: found in wanted.siblings),
        ("points_at_itself", lambda: found == wanted.name),
        ("cut_off", lambda: len(found) > 3 and (target.startswith(found) or target.endswith(f".{found}"))),
        ("too_much", lambda: found.startswith(f"{target}.") or found.endswith(f".{target}")),
        ("old_token", lambda: found.endswith(f".{wanted.zone}")),
    )
    return next((key for key, applies in rules if applies()), "other_target")


def conflict(found: Collection[tuple[str, Answer]], key: str) -> Finding | None:
    """Records of other types, {type: answer}, that stand at the name instead of the CNAME."""
    standing = [(rdtype, answer) for rdtype, answer in found if answer.values]
    if not standing:
        return None
    values = tuple(f"{rdtype} {value}" for rdtype, answer in standing for value in answer.values)
    types = {rdtype for rdtype, _ in standing}
    if key != "bounce" and any("p=" in value for value in values if value.startswith("TXT")):
        problem = "txt_key"
    elif types & {"A", "AAAA"} and not types - {"A", "AAAA"}:
        problem = "proxied"
    elif key == "bounce" and types & {"MX", "TXT"}:
        problem = "copied"
    else:
        problem = "other_records"
    return finding_of(State.CONFLICT, values, problem, standing[0][1])


def has_key(texts: Sequence[str], public: str) -> bool:
    """One TXT record with this `p=` (RFC 6376 3.6.1)."""
    tags = (tag.partition("=") for text in texts for tag in text.split(";"))
    return ["".join(value.split()) for name, _, value in tags if name.strip() == "p"] == [public]


def finding_of(state: State, values: Sequence[str], problem: str, answer: Answer | None = None) -> Finding:
    found = tuple(value[:MOST_CHARACTERS] for value in values[:MOST_VALUES])
    return Finding(
        state, found, problem, answer.server if answer else "", min(answer.ttl, LONGEST_TTL) if answer else 0
    )


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
