"""Opening a store: SQLite by default, PostgreSQL by URL; its tables are brought up to date by migrations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError

from attire.errors import ConfigError, MissingExtraError, ReviewStoreError

BUSY_S = 10  # that a writer waits for another
MIGRATING = 0x617474  # "att": the number of PostgreSQL's lock while tables change
VERSIONS = "alembic_version"  # the table that says which migrations were made
OWNER_ONLY = 0o600


def connect(store: str | Path, *, create: bool = True) -> Engine:
    """An engine for a path (SQLite) or a URL, with all tables. `create`: a file that is not there is made.

    Raises `ConfigError` for an address that is none, `ReviewStoreError` where the store cannot be used: whatever the
    database refuses later, of any statement, is raised as `ReviewStoreError` too.
    """
    url = _address(str(store))
    try:
        engine = create_engine(url, pool_pre_ping=True)
    except ModuleNotFoundError:
        raise MissingExtraError("a store in PostgreSQL", "postgres") from None
    event.listen(engine, "handle_error", _refused)
    if url.get_backend_name() == "sqlite":
        _prepare_sqlite(engine, create)
    try:
        migrate(engine)
    except CommandError as error:
        raise ReviewStoreError(
            f"the store {_named(url)} was written by a newer attire ({error}). Update attire, or name "
            "another store with --store."
        ) from None
    return engine


def _address(store: str) -> URL:
    try:
        url = make_url(store if "://" in store else f"sqlite:///{Path(store).absolute()}")
    except ArgumentError:
        raise ConfigError(
            f"--store {store} is not a URL: expected a file or postgresql://user@host/database."
        ) from None
    backend = url.get_backend_name()
    if backend not in ("sqlite", "postgresql") or (backend == "sqlite" and url.database in (None, "", ":memory:")):
        raise ConfigError(f"--store {url.render_as_string()}: expected SQLite (a file) or postgresql://...")
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _refused(context: ExceptionContext) -> None:
    if context.is_pre_ping:
        return  # a connection that was closed meanwhile, which SQLAlchemy replaces
    where = "" if context.engine is None else f" {_named(context.engine.url)}"
    reason = str(context.original_exception).strip().split("\n", 1)[0]
    raise ReviewStoreError(
        f"the store{where} cannot be used: {reason}. Is its place there, writable and not full? Put a copy in the "
        "place of a damaged one, or name another with --store."
    ) from context.original_exception


def _named(url: URL) -> str:
    """A file's path, or a URL without its password."""
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string()


def _prepare_sqlite(engine: Engine, create: bool) -> None:
    """Readers beside one writer (WAL); a writer asks for its turn when it begins, so that it is never refused later.

    A decision is on disk when it is acknowledged (FULL). The file is its owner's; the two that SQLite keeps beside it
    get its mode. A file that is there already keeps the mode that it has.
    """
    path = Path(_named(engine.url))
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), OWNER_ONLY))
    except OSError as error:
        raise ReviewStoreError(
            f"cannot open the store {path}: {error.strerror}. Name another file with --store."
        ) from None

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin below, not where Python's driver thinks fit
        connection.execute(f"PRAGMA busy_timeout={BUSY_S * 1000}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        if tables and VERSIONS not in tables:
            raise ReviewStoreError(f"{path} is a database of something else. Name another file with --store.")
        damage = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if damage != "ok":
            found = " ".join(damage.split())
            raise ReviewStoreError(
                f"the store {path} is damaged ({found}). Put a copy in its place, or name another --store."
            )


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
