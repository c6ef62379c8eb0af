"""Leases on products, so that two reviewers of one queue are given different ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, or_, select

from attire.review.store.events import INSERTS, Store
from attire.review.store.models import Claim

LEASE = timedelta(minutes=5)


def claim(
    store: Store, reviewer: str, products: Sequence[str], count: int, *, now: datetime | None = None
) -> list[str]:
    """The first `count` of `products` that nobody else looks at, now leased to the reviewer."""
    now = now or datetime.now(UTC)
    writer = store.engine.execution_options(writes=True)
    insert = INSERTS[store.engine.dialect.name]
    with writer.begin() as connection:
        others = select(Claim.product).where(Claim.reviewer != reviewer, Claim.until > now)
        taken = set(connection.execute(others).scalars())
        claimed: list[str] = []
        for product in products:
            if len(claimed) == count:
                break
            if product in taken:
                continue
            lease = insert(Claim).values(product=product, reviewer=reviewer, until=now + LEASE)
            # Another may have come between the look above and now: then the row is theirs and nothing is returned.
            mine = lease.on_conflict_do_update(
                index_elements=[Claim.product],
                set_={"reviewer": reviewer, "until": now + LEASE},
                where=or_(Claim.reviewer == reviewer, Claim.until <= now),
            ).returning(Claim.product)
            claimed += connection.execute(mine).scalars()
    return claimed


def release(store: Store, reviewer: str) -> None:
    """Give back what the reviewer has leased."""
    with store.engine.execution_options(writes=True).begin() as connection:
        connection.execute(delete(Claim).where(Claim.reviewer == reviewer))


def looking(store: Store, *, now: datetime | None = None) -> dict[str, str]:
    """Who looks at which product at present: product -> reviewer."""
    alive = select(Claim.product, Claim.reviewer).where(Claim.until > (now or datetime.now(UTC)))
    with store.engine.connect() as connection:
        return {row.product: row.reviewer for row in connection.execute(alive)}
