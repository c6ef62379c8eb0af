"""Opening a store: SQLite by default, PostgreSQL by URL; its tables are brought up to date by migrations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from attire.errors import ConfigError, MissingExtraError

BUSY_S = 10  # that a writer waits for another
MIGRATING = 0x617474  # "att": the number of PostgreSQL's lock while tables change


def connect(store: str | Path) -> Engine:
    """An engine for a path (SQLite) or a URL, with all tables; raises `ConfigError` where it cannot be opened."""
    address = str(store)
    try:
        url = make_url(address if "://" in address else f"sqlite:///{Path(address).absolute()}")
    except ArgumentError:
        raise ConfigError(
            f"--store {address} is not a URL: expected a file or postgresql://user@host/database."
        ) from None
    if url.get_backend_name() == "postgresql" and url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(f"--store {url.render_as_string()}: expected SQLite (a file) or postgresql://...")
    try:
        engine = create_engine(url, pool_pre_ping=True)
        if engine.dialect.name == "sqlite":
            _prepare_sqlite(engine)
        migrate(engine)
    except ModuleNotFoundError:
        raise MissingExtraError("a store in PostgreSQL", "postgres") from None
    except SQLAlchemyError as error:
        reason = error.orig if isinstance(error, OperationalError) else error
        raise ConfigError(f"cannot open the store {url.render_as_string()}: {reason}") from None
    return engine


def _prepare_sqlite(engine: Engine) -> None:
    """Readers beside one writer (WAL); a writer asks for its turn when it begins, so that it is never refused later."""

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin below, not where Python's driver thinks fit
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA busy_timeout={BUSY_S * 1000}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def migrate(engine: Engine) -> None:
    """Bring the tables up to date; of several processes that start at once, one does it."""
    config = Config()
    config.set_main_option("script_location", "attire.review:migrations")
    config.set_main_option("path_separator", "os")
    with engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": MIGRATING})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
