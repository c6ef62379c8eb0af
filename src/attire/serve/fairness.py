"""Fair sharing between clients: of limited capacity (`Room`) and of turns (`FairQueue`)."""

from __future__ import annotations

import heapq
import ipaddress
import itertools
from collections import Counter
from typing import Generic, TypeVar

from starlette.types import Scope

Item = TypeVar("Item")
KEY = "key"  # name in a request's state of the digest of its API key
REMEMBERED = 1000  # clients that a queue remembers before it forgets idle ones


def client_of(scope: Scope) -> str:
    """Return the digest of the request's API key, or else its IP address (for IPv6 the /64, usually one household)."""
    key: str | None = scope.get("state", {}).get(KEY)
    if key is not None:
        return key
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((int(address), 64), strict=False))


class Room:
    """Shares a fixed capacity: no client holds more than it leaves free for the others.

    The first client gets at most half, the next at most half of the rest, and so on, so a new client always finds some.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.taken = capacity, 0
        self._of: Counter[str] = Counter()

    def take(self, client: str, amount: int) -> bool:
        """Take `amount` if that is within the client's share, and return whether it was; `give` it back afterwards."""
        left = self.capacity - self.taken - amount
        if left < 0 or self._of[client] + amount > max(1, left):
            return False
        self.taken += amount
        self._of[client] += amount
        return True

    def give(self, client: str, amount: int) -> None:
        """Give back an amount that was taken."""
        self.taken -= amount
        self._of[client] -= amount
        if not self._of[client]:
            del self._of[client]


class FairQueue(Generic[Item]):
    """A queue in which clients take turns, weighted by the cost of their items; a client's items keep their order.

    Self-clocked fair queueing (Golestani, 1994): the next item is the one that would finish first if all clients were
    served in parallel at equal speed.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._order = itertools.count()
        self._now = 0.0
        self._done: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, client: str, cost: float, item: Item) -> None:
        """Add an item."""
        done = max(self._now, self._done.get(client, 0.0)) + cost
        self._done[client] = done
        heapq.heappush(self._heap, (done, next(self._order), item))
        if len(self._done) > REMEMBERED:
            self._done = {other: done for other, done in self._done.items() if done > self._now}

    @property
    def first(self) -> Item:
        """The item that `get` returns next; the queue must not be empty."""
        return self._heap[0][2]

    def get(self) -> Item:
        """Remove and return the next item; the queue must not be empty."""
        self._now, _, item = heapq.heappop(self._heap)
        if not self._heap:
            self._done.clear()  # no client is ahead of another
        return item
