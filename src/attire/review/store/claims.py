"""Leases on products, so that two reviewers of one queue are given different ones.

A lease belongs to a reviewer, and to the page in whose browser tab the product is shown: the same person's next page
takes it over, and what the earlier one says when it goes then changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, or_, select, update

from attire.review.store.events import INSERTS, Store
from attire.review.store.models import Claim

LEASE = timedelta(minutes=5)


def claim(
    store: Store, reviewer: str, page: str, products: Sequence[str], count: int, *, now: datetime | None = None
) -> list[str]:
    """The first `count` of `products` that nobody else looks at, now leased to the reviewer's page."""
    now = now or datetime.now(UTC)
    with store.engine.execution_options(writes=True).begin() as connection:
        others = select(Claim.product).where(Claim.reviewer != reviewer, Claim.until > now)
        taken = set(connection.execute(others).scalars())
        free = [product for product in products if product not in taken]
        claimed: list[str] = []
        while free and len(claimed) < count:
            some, free = free[: count - len(claimed)], free[count - len(claimed) :]
            # Another may have come between the look above and now: then the row is theirs and is not returned.
            mine = set(connection.execute(_lease(store, reviewer, page, some, now)).scalars())
            claimed += [product for product in some if product in mine]
    return claimed


def renew(store: Store, page: str, *, now: datetime | None = None) -> None:
    """Lengthen what the page has leased: it is at work."""
    longer = update(Claim).where(Claim.page == page).values(until=(now or datetime.now(UTC)) + LEASE)
    with store.engine.execution_options(writes=True).begin() as connection:
        connection.execute(longer)


def release(store: Store, page: str) -> None:
    """Give back what the page has leased and no later page has taken over."""
    with store.engine.execution_options(writes=True).begin() as connection:
        connection.execute(delete(Claim).where(Claim.page == page))


def looking(store: Store, *, now: datetime | None = None) -> dict[str, str]:
    """Who looks at which product at present: product -> reviewer."""
    alive = select(Claim.product, Claim.reviewer).where(Claim.until > (now or datetime.now(UTC)))
    with store.engine.connect() as connection:
        return {row.product: row.reviewer for row in connection.execute(alive)}


def _lease(store: Store, reviewer: str, page: str, products: Sequence[str], now: datetime) -> Any:
    """A statement that takes those of `products` that are free or the reviewer's own, and returns them."""
    holder = {"reviewer": reviewer, "page": page, "until": now + LEASE}
    rows = [{"product": product, **holder} for product in sorted(products)]  # one order for all: no deadlock
    return (
        INSERTS[store.engine.dialect.name](Claim)
        .values(rows)
        .on_conflict_do_update(
            index_elements=[Claim.product], set_=holder, where=or_(Claim.reviewer == reviewer, Claim.until <= now)
        )
        .returning(Claim.product)
    )
