"""System checks: a wrong setting is an error with an id, said at every start."""

from typing import Any

from django.core.checks import CheckMessage, Error, Tags, Warning, register

from relay import settings


@register(Tags.security)
def zone_can_be_published(**_kwargs: Any) -> list[CheckMessage]:
    if settings.PUBLISH_SERVER is None:
        return []
    # Only where it is needed: most programs start without DNS.
    from domains.primary import Trouble, tsig_key

    try:
        tsig_key(settings.TSIG_NAME, settings.TSIG_SECRET, settings.TSIG_ALGORITHM)
    except Trouble as trouble:
        return [Error(str(trouble), hint="Give what the name server has for this key.", id="relay.E004")]
    return []


@register(Tags.security)
def settings_are_usable(**_kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = [
        Error(f"{problem.name}={problem.value!r} cannot be used.", hint=f"Give {problem.wanted}.", id="relay.E001")
        for problem in settings.env.problems
    ]
    if not settings.SECRET_KEY:
        found.append(Error("RELAY_SECRET_KEY is empty.", hint="Give 50 or more random characters.", id="relay.E002"))
    elif len(settings.SECRET_KEY) < 32:
        found.append(Error("RELAY_SECRET_KEY is too short.", hint="Give 32 or more characters.", id="relay.E003"))
    if settings.PRIVATE_MX and not settings.DEMO:
        found.append(
            Warning(
                "RELAY_PRIVATE_MX is on: mail may be sent to hosts of your own network.",
                hint="Leave it off outside demos and tests.",
                id="relay.W001",
            )
        )
    return found
