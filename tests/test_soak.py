"""The short form of tests/soak.py: after half a minute of moody servers every email is accounted for."""

import asyncio

from tests.soak import Account, moody_world, send, settled


def test_among_moody_servers_no_email_is_lost_stuck_or_sent_twice_without_a_cause(tmp_path):
    accepted = []
    with moody_world(tmp_path) as (stack, log):
        asyncio.run(send(stack, rate=30, seconds=20, accepted=accepted))
        settled(stack, 20)
        account = Account.of(stack, log, accepted)
    print(account)
    assert len(accepted) > 100
    assert account.problems() == []
    # It was a soak and no stroll.
    assert account.events["put_off rcpt"] + account.events["put_off end_of_data"]
    assert any("dropped" in event for event in account.events)
