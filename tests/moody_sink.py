"""A mail server with moods, for the soak: it puts off, refuses, and breaks connections at every stage.

`python -m tests.moody_sink PORT LOG` writes a line `EVENT STAGE ADDRESS` into LOG before it acts: `taken`, `put_off`,
`dropped`, and `unsure` for a message that was taken but whose answer is lost. Addresses that do not exist are `hard-…`.
"""

import asyncio
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import uvloop

from relay.simulator.script import DROP, DROP_AFTER_REPLY, TAKE_AND_DROP, Fault, Stage
from relay.simulator.server import Simulator
from tests.authority import Authority

DROPPED = 0.01
PUT_OFF = 0.05
# So that there are many connections: one that has carried so many messages is closed, as busy servers do.
MESSAGES_A_CONNECTION = 10
HALF_A_BANNER = Fault(b"220 mx.", drop=True)
# The connection is gone before the answer or behind it.
DROPS = {
    Stage.CONNECT: (DROP, HALF_A_BANNER),
    Stage.EHLO: (DROP, DROP_AFTER_REPLY),
    Stage.STARTTLS: (DROP, Fault("220 2.0.0 Go ahead", drop=True, taken=False)),
    Stage.MAIL: (DROP, DROP_AFTER_REPLY),
    Stage.RCPT: (DROP, DROP_AFTER_REPLY),
    Stage.DATA: (DROP, DROP_AFTER_REPLY),
    Stage.END_OF_DATA: (DROP, TAKE_AND_DROP),
    Stage.QUIT: (DROP,),
}
LATER = ("450 4.2.0 Not now, please try again later", "451 4.3.0 Something is wrong here for the moment")


class Moody(Simulator):
    def __init__(self, log, **options):
        super().__init__("dest.test", keep=0, behave=self.mood, **options)
        self.log = log
        self.carried = Counter()

    def _by_recipient(self, mailbox):
        return "550 5.1.1 No such user here" if mailbox.startswith("hard-") else None

    def mood(self, stage, envelope):
        if stage in DROPS and random.random() < DROPPED:
            fault = random.choice(DROPS[stage])
            self.tell(f"{'unsure' if fault is TAKE_AND_DROP else 'dropped'} {stage} {envelope.recipient or '-'}")
            return fault
        # Half of those that are put off are so at RCPT, the others behind the final dot.
        if stage in (Stage.RCPT, Stage.END_OF_DATA) and random.random() < PUT_OFF / 2:
            self.tell(f"put_off {stage} {envelope.recipient}")
            return random.choice(LATER)
        if stage is Stage.END_OF_DATA:
            self.carried[envelope.connection] += 1
            return DROP_AFTER_REPLY if self.carried[envelope.connection] == MESSAGES_A_CONNECTION else None
        return None

    def accepted(self, envelope):
        self.tell(f"taken {Stage.END_OF_DATA} {envelope.recipient}")

    def tell(self, line):
        self.log.write(f"{line}\n")


async def main(port, log):
    with tempfile.TemporaryDirectory() as folder:
        context = Authority(Path(folder)).server("localhost", self_signed=True)
        await Moody(log, ssl_context=context).start("127.0.0.1", port)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with Path(sys.argv[2]).open("a", buffering=1) as file:
        uvloop.run(main(int(sys.argv[1]), file))
