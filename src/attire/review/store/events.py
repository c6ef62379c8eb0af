"""Stores decisions as events. Actions and undos are appended; the current decisions are derived from them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl
from sqlalchemy import Connection, and_, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased

from attire.review.store.database import connect, display_name
from attire.review.store.models import Event

Action = Literal["accept", "set", "clear", "not applicable"]
STATES: dict[Action, str] = {"accept": "known", "set": "known", "clear": "unknown", "not applicable": "not applicable"}
STORE = "review.sqlite"  # in the catalog
OPEN, UNDO = "open", "undo"
REDACTED = "redacted"  # the state of events on purged products
MARGIN = 1000  # events that `decided` reads again
CHUNK = 500  # products per query, because databases limit parameters
FIELD = {"product": pl.String, "key": pl.String}
INSERTS: dict[str, Callable[[Any], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A reviewer's action on one field; `version` is the field's version that the reviewer saw (0: no decision)."""

    product: str
    key: str
    action: Action
    values: tuple[str, ...]
    version: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The current decision on a field. `state` is known, unknown, not applicable, open (after an undo) or redacted."""

    product: str
    key: str
    version: int
    action: str
    state: str
    values: tuple[str, ...]
    batch: str
    reviewer: str
    at: datetime

    @property
    def decided(self) -> bool:
        return self.state not in (OPEN, REDACTED)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of verdicts: `saved` decisions, and `conflicts`, the current decisions where the version differed."""

    saved: tuple[Decision, ...]
    conflicts: tuple[Decision, ...]


class Store:
    """Events in a database; safe to use from several threads and processes."""

    def __init__(self, store: str | Path, *, create: bool = True) -> None:
        """Open a file (SQLite) or a URL; raises as `connect` does."""
        self.engine = connect(store, create=create)
        self._writer = self.engine.execution_options(writes=True)
        self._insert = INSERTS[self.engine.dialect.name]
        self._reading, self._last = threading.Lock(), 0
        self._known: dict[tuple[str, str], tuple[int, str]] = {}  # field -> last version and state
        self._decided = pl.DataFrame(schema=FIELD)

    @property
    def name(self) -> str:
        """The path, or the URL without its password."""
        return display_name(self.engine.url)

    def close(self) -> None:
        self.engine.dispose()

    def decide(
        self,
        reviewer: str,
        verdicts: Sequence[Verdict],
        batch: str = "",
        shown: str = "",
        *,
        now: datetime | None = None,
    ) -> Result:
        """Append an event for each verdict whose version is the field's current one, in one transaction.

        A verdict on another version is saved without an event if it equals the current decision, so a client can safely
        send a batch again; otherwise it is a conflict.
        """
        batch, at = batch or uuid.uuid4().hex, now or datetime.now(UTC)
        saved: list[Decision] = []
        conflicts: list[Decision] = []
        products = list(dict.fromkeys(verdict.product for verdict in verdicts))
        with self._writer.begin() as connection:
            before = _read_decisions(connection, products)
            for verdict in verdicts:
                if verdict.version != _decision_on(before, verdict, at).version:
                    continue
                self._append(
                    connection,
                    product=verdict.product,
                    key=verdict.key,
                    version=verdict.version + 1,
                    action=verdict.action,
                    state=STATES[verdict.action],
                    values=list(verdict.values),
                    restores=None,
                    batch=batch,
                    reviewer=reviewer,
                    at=at,
                    shown=shown,
                )
            after = _read_decisions(connection, products)
            for verdict in verdicts:
                decision = _decision_on(after, verdict, at)
                agrees = (decision.state, set(decision.values)) == (STATES[verdict.action], set(verdict.values))
                (saved if agrees else conflicts).append(decision)
        return Result(tuple(saved), tuple(conflicts))

    def undo(self, reviewer: str, batch: str = "", shown: str = "") -> Result:
        """Undo the reviewer's last batch that is still in force; repeated calls undo earlier batches.

        `batch` names this undo: a call with a name that was used before changes nothing and returns what that call
        undid, so a client can safely send it again.
        """
        batch = batch or uuid.uuid4().hex
        with self._writer.begin() as connection:
            named = (Event.batch == batch, Event.reviewer == reviewer, Event.action == UNDO)
            undone = select(Event.product, Event.key).where(*named)
            if not connection.execute(undone).first():
                for event, latest in _last_batch(connection, reviewer):
                    before = _in_force_before(connection, event)
                    self._append(
                        connection,
                        product=event.product,
                        key=event.key,
                        version=latest + 1,
                        action=UNDO,
                        state=OPEN if before is None else before.state,
                        values=[] if before is None else before.values,
                        restores=None if before is None else before.id,
                        batch=batch,
                        reviewer=reviewer,
                        at=datetime.now(UTC),
                        shown=shown,
                    )
            fields = connection.execute(undone.order_by(Event.id)).all()
            decisions = _read_decisions(connection, list(dict.fromkeys(product for product, _ in fields)))
        return Result(tuple(decisions[product, key] for product, key in fields), ())

    def held(self, products: Sequence[str] | None = None) -> dict[tuple[str, str], Decision]:
        """Return the current decision on each field that was ever decided, of `products` or of all products."""
        with self.engine.connect() as connection:
            return _read_decisions(connection, products)

    def decided(self) -> pl.DataFrame:
        """Return product and key of every decided field. Reads only events that are new since the last call."""
        with self._reading, self.engine.connect() as connection:
            # Events are not visible in the order of their ids if transactions overlap, so the last ones are read again.
            new = select(Event.id, Event.product, Event.key, Event.version, Event.state).where(
                Event.id > self._last - MARGIN
            )
            changed: dict[tuple[str, str], bool] = {}
            for id, product, key, version, state in connection.execute(new.order_by(Event.id)):
                self._last = max(self._last, id)
                if version > self._known.get((product, key), (0, ""))[0]:
                    self._known[product, key] = (version, state)
                    changed[product, key] = state not in (OPEN, REDACTED)
            if changed:
                decided_fields = [field for field, decided in changed.items() if decided]
                others = self._decided.join(_frame(list(changed)), on=list(FIELD), how="anti", maintain_order="left")
                self._decided = pl.concat([others, _frame(decided_fields)])
            return self._decided

    def history(self) -> list[Any]:
        """Return all events, oldest first."""
        with self.engine.connect() as connection:
            return list(connection.execute(select(*Event.__table__.columns).order_by(Event.id)))

    def _append(self, connection: Connection, **columns: Any) -> None:
        """Add the event, unless its version exists already."""
        connection.execute(self._insert(Event).values(**columns).on_conflict_do_nothing())


def _frame(fields: list[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(fields, schema=FIELD, orient="row")


def _decision_on(decisions: Mapping[tuple[str, str], Decision], verdict: Verdict, at: datetime) -> Decision:
    """Return the current decision on the verdict's field, or an open one if it was never decided."""
    field = (verdict.product, verdict.key)
    return decisions.get(field) or Decision(*field, 0, "", OPEN, (), "", "", at)


def _read_decisions(
    connection: Connection, products: Sequence[str] | None, key: str | None = None
) -> dict[tuple[str, str], Decision]:
    query = select(*Event.__table__.columns).order_by(Event.version)  # the last event of a field overwrites the others
    if key is not None:
        query = query.where(Event.key == key)
    queries = [query]
    if products is not None:
        groups = (products[i : i + CHUNK] for i in range(0, len(products), CHUNK))
        queries = [query.where(Event.product.in_(group)) for group in groups]
    return {
        (row.product, row.key): Decision(
            row.product,
            row.key,
            row.version,
            row.action,
            row.state,
            tuple(row._mapping["values"]),
            row.batch,
            row.reviewer,
            row.at,
        )
        for query in queries
        for row in connection.execute(query)
    }


def _last_batch(connection: Connection, reviewer: str) -> list[tuple[Any, int]]:
    """Return the events of the reviewer's last batch that are still in force, each with its field's last version."""
    latest, newer = aliased(Event), aliased(Event)
    same = and_(latest.product == Event.product, latest.key == Event.key)
    superseded = select(newer.id).where(
        newer.product == latest.product, newer.key == latest.key, newer.version > latest.version
    )
    in_force = (
        select(*Event.__table__.columns, latest.version.label("latest"))
        .join_from(Event, latest, and_(same, or_(latest.id == Event.id, latest.restores == Event.id)))
        .where(Event.reviewer == reviewer, Event.action != UNDO, Event.state != REDACTED, ~superseded.exists())
        .order_by(Event.id.desc())
    )
    last = connection.execute(in_force.limit(1)).first()
    rows = [] if last is None else connection.execute(in_force.where(Event.batch == last.batch)).all()
    return [(_PastEvent.of(row), row.latest) for row in rows]


@dataclass(frozen=True, slots=True)
class _PastEvent:
    """An event that was read from the database."""

    id: int
    product: str
    key: str
    version: int
    state: str
    values: list[str]

    @classmethod
    def of(cls, row: Any) -> _PastEvent:
        return cls(row.id, row.product, row.key, row.version, row.state, row._mapping["values"])


def _in_force_before(connection: Connection, event: _PastEvent) -> _PastEvent | None:
    """Return the event that was in force when `event` was appended."""
    columns = Event.__table__.columns
    previous = (Event.product == event.product, Event.key == event.key, Event.version == event.version - 1)
    before = connection.execute(select(*columns).where(*previous)).first()
    if before is not None and before.action == UNDO:
        before = connection.execute(select(*columns).where(Event.id == before.restores)).first()
    return None if before is None else _PastEvent.of(before)
