"""The tables. The migrations in `attire.review.migrations` create them; a test checks that both agree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Index, Integer, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class Utc(TypeDecorator[datetime]):
    """A timezone-aware datetime; SQLite itself drops the timezone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    pass


class Event(Base):
    """A decision on one field. Triggers refuse to change or delete events.

    `version` counts the events of a field from 1, so only one of two reviewers who saw the same version can append.
    `action` is what the reviewer did; `state` and `values` are the result. An undo `restores` an earlier event, or
    none, which leaves the field undecided. Events of one action share a `batch`. `shown` is the digest of the
    predictions that the reviewer saw.
    """

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("product", "key", "version", name="one_event_per_version"),
        Index("events_by_reviewer", "reviewer", "id"),
        Index("events_by_batch", "batch"),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    product: Mapped[str]
    key: Mapped[str]
    version: Mapped[int]
    action: Mapped[str]
    state: Mapped[str]
    values: Mapped[list[str]] = mapped_column(JSON)
    restores: Mapped[int | None] = mapped_column(BigInteger)
    batch: Mapped[str]
    reviewer: Mapped[str]
    at: Mapped[datetime] = mapped_column(Utc)
    shown: Mapped[str]


class Claim(Base):
    """A lease on a product: its reviewer, page and end."""

    __tablename__ = "claims"

    product: Mapped[str] = mapped_column(primary_key=True)
    reviewer: Mapped[str]
    page: Mapped[str]
    until: Mapped[datetime] = mapped_column(Utc)


class Sampled(Base):
    """A field of a random sample on which precision is measured; fields stay when a sample grows or is drawn again."""

    __tablename__ = "sampled"

    product: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
