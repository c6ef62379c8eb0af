"""Takes the content of purged products out of a store. Versions, reviewers and times of their events stay."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from sqlalchemy import Connection, delete, select, text, update

from attire.errors import ReviewStoreError
from attire.review.store.events import CHUNK, REDACTED, Store
from attire.review.store.models import Claim, Event, Sampled


def redact(store: Store, products: Sequence[str]) -> int:
    """Redact the events of `products`: other ids, no values; returns their number.

    The file is compacted, so that it does not hold the content any more. Raises `ReviewStoreError` if the store cannot
    be written, or is in use so that it cannot be compacted; another call finishes that.
    """
    with store.engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
        count = 0
        with _changeable(connection):
            for start in range(0, len(products), CHUNK):
                some = products[start : start + CHUNK]
                query = select(Event.product).where(Event.product.in_(some)).distinct()
                for product in connection.execute(query).scalars().all():
                    content = {"product": f"redacted-{uuid.uuid4().hex}", "values": [], "state": REDACTED}
                    change = update(Event.__table__).where(Event.product == product).values(content)  # type: ignore[arg-type]
                    count += connection.execute(change).rowcount
                connection.execute(delete(Claim).where(Claim.product.in_(some)))
                connection.execute(delete(Sampled).where(Sampled.product.in_(some)))
    _compact(store)
    return count


@contextmanager
def _changeable(connection: Connection) -> Iterator[None]:
    """Within the block, the triggers that refuse to change events are off; the transaction restores them on errors."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE events DISABLE TRIGGER events_stay"))
        yield
        connection.execute(text("ALTER TABLE events ENABLE TRIGGER events_stay"))
        return
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'"
    triggers = connection.exec_driver_sql(query).all()
    for name, _ in triggers:
        connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
    yield
    for _, definition in triggers:
        connection.exec_driver_sql(definition)


def _compact(store: Store) -> None:
    if store.engine.dialect.name == "postgresql":
        with store.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text("VACUUM events, claims, sampled"))
        return
    with closing(store.engine.raw_connection()) as raw:
        try:
            raw.cursor().execute("VACUUM")
            busy = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except raw.dbapi_connection.Error as error:  # type: ignore[union-attr]
            raise ReviewStoreError(f"the store {store.name} cannot be compacted: {error}.") from error
    if busy:
        raise ReviewStoreError(
            f"the store {store.name} is in use, so that it cannot be compacted: stop attire review and run the command "
            "again."
        )
