"""Turns: a queue in which accounts take turns, so that nobody waits behind somebody else's mailing."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from activity.claim import Claimed


class Turns:
    def __init__(self) -> None:
        # The account whose turn it is comes first; one without mail is not in it.
        self.accounts: OrderedDict[int, deque[Claimed]] = OrderedDict()
        self.length = 0

    def __len__(self) -> int:
        return self.length

    def extend(self, jobs: Iterable[Claimed]) -> None:
        for job in jobs:
            self.accounts.setdefault(job.account_id, deque()).append(job)
            self.length += 1

    def put_back(self, job: Claimed) -> None:
        """It had its turn for nothing, so it is the next."""
        self.accounts.setdefault(job.account_id, deque()).appendleft(job)
        self.accounts.move_to_end(job.account_id, last=False)
        self.length += 1

    def pop(self) -> Claimed:
        account, queue = next(iter(self.accounts.items()))
        job = queue.popleft()
        self.length -= 1
        if queue:
            self.accounts.move_to_end(account)
        else:
            del self.accounts[account]
        return job

    def ahead(self, number: int) -> Iterator[Claimed]:
        """The next ones, in about the order in which they will be taken."""
        queues = list(islice(self.accounts.values(), number))
        rounds = (queue[depth] for depth in range(number) for queue in queues if depth < len(queue))
        return islice(rounds, number)

    def withdraw(self, wanted: Callable[[Claimed], bool]) -> list[Claimed]:
        """Take out all that are `wanted`, wherever they stand."""
        jobs = [job for queue in self.accounts.values() for job in queue]
        taken = [job for job in jobs if wanted(job)]
        if taken:
            self.accounts.clear()
            self.length = 0
            self.extend(job for job in jobs if not wanted(job))
        return taken
