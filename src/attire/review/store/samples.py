"""Fields of the random samples on which precision is measured, so that nothing is trained on their products."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from attire.review.store.events import INSERTS, Store
from attire.review.store.models import Sampled

CHUNK = 400  # rows per statement, because databases limit parameters


def add_sampled(store: Store, fields: Iterable[tuple[str, str]]) -> None:
    """Record fields (product, key) of a sample."""
    known = sampled(store)
    rows = [{"product": product, "key": key} for product, key in sorted(set(fields) - known)]
    if not rows:
        return
    with store.engine.execution_options(writes=True).begin() as connection:
        for start in range(0, len(rows), CHUNK):
            insert = INSERTS[store.engine.dialect.name](Sampled).values(rows[start : start + CHUNK])
            connection.execute(insert.on_conflict_do_nothing())


def sampled(store: Store) -> set[tuple[str, str]]:
    """The fields (product, key) of all samples so far."""
    with store.engine.connect() as connection:
        return {(row.product, row.key) for row in connection.execute(select(Sampled.product, Sampled.key))}
