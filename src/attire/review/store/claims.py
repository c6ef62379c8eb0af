"""Leases on products, so that two reviewers of the same queue get different products.

A lease belongs to a reviewer and to a page (a browser tab). A later page of the same reviewer takes it over; releasing
the earlier page then has no effect on it.
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
    """Lease the first `count` of `products` that no other reviewer has to the page, and return their ids."""
    now = now or datetime.now(UTC)
    with store.engine.execution_options(writes=True).begin() as connection:
        others = select(Claim.product).where(Claim.reviewer != reviewer, Claim.until > now)
        taken = set(connection.execute(others).scalars())
        free = [product for product in products if product not in taken]
        claimed: list[str] = []
        while free and len(claimed) < count:
            batch, free = free[: count - len(claimed)], free[count - len(claimed) :]
            # Another reviewer may have taken a product since the query above; such rows are not returned.
            leased = set(connection.execute(_lease(store, reviewer, page, batch, now)).scalars())
            claimed += [product for product in batch if product in leased]
    return claimed


def renew(store: Store, page: str, *, now: datetime | None = None) -> None:
    """Extend the leases of the page."""
    extension = update(Claim).where(Claim.page == page).values(until=(now or datetime.now(UTC)) + LEASE)
    with store.engine.execution_options(writes=True).begin() as connection:
        connection.execute(extension)


def release(store: Store, page: str) -> None:
    """End the leases of the page, except those that a later page has taken over."""
    with store.engine.execution_options(writes=True).begin() as connection:
        connection.execute(delete(Claim).where(Claim.page == page))


def viewers(store: Store, *, now: datetime | None = None) -> dict[str, str]:
    """Return the reviewer of every leased product: {product: reviewer}."""
    active = select(Claim.product, Claim.reviewer).where(Claim.until > (now or datetime.now(UTC)))
    with store.engine.connect() as connection:
        return {row.product: row.reviewer for row in connection.execute(active)}


def _lease(store: Store, reviewer: str, page: str, products: Sequence[str], now: datetime) -> Any:
    """Build a statement that leases those of `products` that are free or the reviewer's own, and returns them."""
    holder = {"reviewer": reviewer, "page": page, "until": now + LEASE}
    rows = [{"product": product, **holder} for product in sorted(products)]  # sorted to avoid deadlocks
    return (
        INSERTS[store.engine.dialect.name](Claim)
        .values(rows)
        .on_conflict_do_update(
            index_elements=[Claim.product], set_=holder, where=or_(Claim.reviewer == reviewer, Claim.until <= now)
        )
        .returning(Claim.product)
    )
