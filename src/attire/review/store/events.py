"""Decisions as events: what a reviewer does is appended, what holds is derived, what is undone stays on record."""

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

from attire.review.store.database import connect
from attire.review.store.models import Event

Action = Literal["accept", "set", "clear", "not applicable"]
STATES: dict[Action, str] = {"accept": "known", "set": "known", "clear": "unknown", "not applicable": "not applicable"}
OPEN, UNDO = "open", "undo"
MARGIN = 1000  # events that are read again
CHUNK = 500  # products of one query: databases limit parameters
FIELD = {"product": pl.String, "key": pl.String}
INSERTS: dict[str, Callable[[Any], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reviewer says of one field, having seen the event number `version` of it as the last (0: none)."""

    product: str
    key: str
    action: Action
    values: tuple[str, ...]
    version: int


@dataclass(frozen=True, slots=True)
class Held:
    """What holds of a field: `state` is known, unknown, not applicable, or open after an undo."""

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
        return self.state != OPEN


@dataclass(frozen=True, slots=True)
class Result:
    """What became of verdicts: those `saved` as they now hold, and what holds instead of those on another version."""

    saved: tuple[Held, ...]
    conflicts: tuple[Held, ...]


class Store:
    """Events in a database; safe for threads and for several processes at once."""

    def __init__(self, store: str | Path, *, create: bool = True) -> None:
        """Open a file (SQLite) or a URL; raises as `connect` does."""
        self.engine = connect(store, create=create)
        self._writer = self.engine.execution_options(writes=True)
        self._insert = INSERTS[self.engine.dialect.name]
        self._reading, self._last = threading.Lock(), 0
        self._known: dict[tuple[str, str], tuple[int, str]] = {}  # field -> last version and state
        self._decided = pl.DataFrame(schema=FIELD)

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
        """Append one event per verdict, at one stroke, where the reviewer saw the field's last one.

        Who saw an older one and says the same as it is now agrees, and nothing is appended: so a client may send a
        batch again that it got no answer to.
        """
        batch, at = batch or uuid.uuid4().hex, now or datetime.now(UTC)
        saved: list[Held] = []
        conflicts: list[Held] = []
        products = list(dict.fromkeys(verdict.product for verdict in verdicts))
        with self._writer.begin() as connection:
            before = _held(connection, products)
            for verdict in verdicts:
                if verdict.version != _of(before, verdict, at).version:
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
            after = _held(connection, products)
            for verdict in verdicts:
                held = _of(after, verdict, at)
                agrees = (held.state, set(held.values)) == (STATES[verdict.action], set(verdict.values))
                (saved if agrees else conflicts).append(held)
        return Result(tuple(saved), tuple(conflicts))

    def undo(self, reviewer: str, shown: str = "") -> Result:
        """Undo what the reviewer last did at one stroke and still holds; again, what was done before that."""
        saved = []
        with self._writer.begin() as connection:
            undone = _last_batch(connection, reviewer)
            for event, latest in undone:
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
                    batch=uuid.uuid4().hex,
                    reviewer=reviewer,
                    at=datetime.now(UTC),
                    shown=shown,
                )
                saved.append(_held(connection, [event.product], event.key)[event.product, event.key])
        return Result(tuple(saved), ())

    def held(self, products: Sequence[str] | None = None) -> dict[tuple[str, str], Held]:
        """What holds of each field that was ever decided, of `products` or of all."""
        with self.engine.connect() as connection:
            return _held(connection, products)

    def decided(self) -> pl.DataFrame:
        """product, key of every field that is decided now. Reads only what came since the last call."""
        with self._reading, self.engine.connect() as connection:
            # Of transactions at the same time one with a lower id may become visible later.
            new = select(Event.id, Event.product, Event.key, Event.version, Event.state).where(
                Event.id > self._last - MARGIN
            )
            changed: dict[tuple[str, str], bool] = {}
            for id, product, key, version, state in connection.execute(new.order_by(Event.id)):
                self._last = max(self._last, id)
                if version > self._known.get((product, key), (0, ""))[0]:
                    self._known[product, key] = (version, state)
                    changed[product, key] = state != OPEN
            if changed:
                there = [field for field, decided in changed.items() if decided]
                others = self._decided.join(_frame(list(changed)), on=list(FIELD), how="anti", maintain_order="left")
                self._decided = pl.concat([others, _frame(there)])
            return self._decided

    def history(self) -> list[Any]:
        """Every event, in the order in which they came."""
        with self.engine.connect() as connection:
            return list(connection.execute(select(*Event.__table__.columns).order_by(Event.id)))

    def _append(self, connection: Connection, **columns: Any) -> None:
        """Add the event, if it is the first of its version."""
        connection.execute(self._insert(Event).values(**columns).on_conflict_do_nothing())


def _frame(fields: list[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(fields, schema=FIELD, orient="row")


def _of(held: Mapping[tuple[str, str], Held], verdict: Verdict, at: datetime) -> Held:
    """What holds of the verdict's field; where nobody ever decided it, that it is open."""
    field = (verdict.product, verdict.key)
    return held.get(field) or Held(*field, 0, "", OPEN, (), "", "", at)


def _held(
    connection: Connection, products: Sequence[str] | None, key: str | None = None
) -> dict[tuple[str, str], Held]:
    every = select(*Event.__table__.columns).order_by(Event.version)  # so that of each field the last one stays
    if key is not None:
        every = every.where(Event.key == key)
    queries = [every]
    if products is not None:
        parts = (products[i : i + CHUNK] for i in range(0, len(products), CHUNK))
        queries = [every.where(Event.product.in_(part)) for part in parts]
    return {
        (row.product, row.key): Held(
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
    """Events of the reviewer's last batch that still are in force, each with its field's last version."""
    latest, newer = aliased(Event), aliased(Event)
    same = and_(latest.product == Event.product, latest.key == Event.key)
    superseded = select(newer.id).where(
        newer.product == latest.product, newer.key == latest.key, newer.version > latest.version
    )
    in_force = (
        select(*Event.__table__.columns, latest.version.label("latest"))
        .join_from(Event, latest, and_(same, or_(latest.id == Event.id, latest.restores == Event.id)))
        .where(Event.reviewer == reviewer, Event.action != UNDO, ~superseded.exists())
        .order_by(Event.id.desc())
    )
    last = connection.execute(in_force.limit(1)).first()
    rows = [] if last is None else connection.execute(in_force.where(Event.batch == last.batch)).all()
    return [(_Past.of(row), row.latest) for row in rows]


@dataclass(frozen=True, slots=True)
class _Past:
    """An earlier event."""

    id: int
    product: str
    key: str
    version: int
    state: str
    values: list[str]

    @classmethod
    def of(cls, row: Any) -> _Past:
        return cls(row.id, row.product, row.key, row.version, row.state, row._mapping["values"])


def _in_force_before(connection: Connection, event: _Past) -> _Past | None:
    """What was in force when `event` came."""
    columns = Event.__table__.columns
    here = (Event.product == event.product, Event.key == event.key, Event.version == event.version - 1)
    before = connection.execute(select(*columns).where(*here)).first()
    if before is not None and before.action == UNDO:
        before = connection.execute(select(*columns).where(Event.id == before.restores)).first()
    return None if before is None else _Past.of(before)
