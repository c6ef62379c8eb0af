"""No client takes more than its share: of the room that there is, and of the turns."""

from __future__ import annotations

import heapq
import ipaddress
import itertools
from collections import Counter
from typing import Generic, TypeVar

from starlette.types import Scope

Item = TypeVar("Item")
KEY = "key"  # in a request's state: the digest of the API key that it came with
REMEMBERED = 1000  # clients of a queue, before those whose turn has passed are forgotten


def client_of(scope: Scope) -> str:
    """Who asks: the holder of an API key, or else an address (of IPv6 its network, of which a household has one)."""
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
    """Room for `capacity` of something, of which nobody takes more than is left for the others.

    So the first client gets at most half, the next at most half of the rest, and there is always some for a new one.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.taken = capacity, 0
        self._of: Counter[str] = Counter()

    def take(self, client: str, amount: int) -> bool:
        """Take so much, if that leaves the others their share; `give` it back afterwards."""
        left = self.capacity - self.taken - amount
        if left < 0 or self._of[client] + amount > max(1, left):
            return False
        self.taken += amount
        self._of[client] += amount
        return True

    def give(self, client: str, amount: int) -> None:
        """Give back what was taken."""
        self.taken -= amount
        self._of[client] -= amount
        if not self._of[client]:
            del self._of[client]


class FairQueue(Generic[Item]):
    """A queue in which clients take turns by what their items cost; a client's own keep their order.

    Self-clocked fair queueing (Golestani, 1994): the next item is the one that would be done first if all clients were
    served at once, evenly, from now on.
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
            self._done = {one: done for one, done in self._done.items() if done > self._now}

    @property
    def first(self) -> Item:
        """The item that `get` takes; there must be one."""
        return self._heap[0][2]

    def get(self) -> Item:
        """Take the next item; there must be one."""
        self._now, _, item = heapq.heappop(self._heap)
        if not self._heap:
            self._done.clear()  # nobody is ahead of anybody
        return item
