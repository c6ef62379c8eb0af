"""Opens a store, in SQLite by default or PostgreSQL by URL, and migrates its tables."""

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

BUSY_S = 10  # how long a writer waits for another one
MIGRATING = 0x617474  # "att": number of PostgreSQL's advisory lock during a migration
VERSIONS = "alembic_version"  # alembic's table with the current migration
OWNER_ONLY = 0o600


def connect(store: str | Path, *, create: bool = True) -> Engine:
    """Return an engine for a path (SQLite) or a URL, with up-to-date tables. `create`: create a missing file.

    Raises `ConfigError` for an invalid address and `ReviewStoreError` if the store cannot be used. Database errors of
    later statements are raised as `ReviewStoreError` too.
    """
    url = _address(str(store))
    try:
        engine = create_engine(url, pool_pre_ping=True)
    except ModuleNotFoundError:
        raise MissingExtraError("a store in PostgreSQL", "postgres") from None
    event.listen(engine, "handle_error", _raise_store_error)
    if url.get_backend_name() == "sqlite":
        _prepare_sqlite(engine, create)
    try:
        migrate(engine)
    except CommandError as error:
        raise ReviewStoreError(
            f"the store {display_name(url)} was written by a newer attire ({error}). Update attire, or name another "
            "store with --store."
        ) from None
    return engine


def _address(store: str) -> URL:
    try:
        url = make_url(store if "://" in store else f"sqlite:///{Path(store).absolute()}")
    except ArgumentError:
        raise ConfigError(
            f"--store {store} is not a valid URL. Expected a file or postgresql://user@host/database."
        ) from None
    backend = url.get_backend_name()
    if backend not in ("sqlite", "postgresql") or (backend == "sqlite" and url.database in (None, "", ":memory:")):
        raise ConfigError(f"--store {url.render_as_string()}: expected SQLite (a file) or postgresql://...")
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _raise_store_error(context: ExceptionContext) -> None:
    if context.is_pre_ping:
        return  # SQLAlchemy replaces a closed connection
    name = "" if context.engine is None else f" {display_name(context.engine.url)}"
    reason = str(context.original_exception).strip().split("\n", 1)[0]
    raise ReviewStoreError(
        f"the store{name} cannot be used: {reason}. Check that it exists, is writable, and has free space. "
        "Replace a damaged store by a copy, or name another one with --store."
    ) from context.original_exception


def display_name(url: URL) -> str:
    """Return the path of a file, or a URL without its password."""
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string()


def _prepare_sqlite(engine: Engine, create: bool) -> None:
    """Create or check the file and configure SQLite.

    WAL allows readers next to one writer. A writer locks at the start of its transaction, so it cannot fail later. FULL
    writes a decision to disk before it is acknowledged. A new file gets mode 0600, which SQLite also uses for its two
    extra files; an existing file keeps its mode.
    """
    path = Path(display_name(engine.url))
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), OWNER_ONLY))
    except OSError as error:
        raise ReviewStoreError(
            f"cannot open the store {path}: {error.strerror}. Name another file with --store."
        ) from None

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # `_begin` starts transactions, not Python's driver
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
            raise ReviewStoreError(
                f"{path} is a database of another program, not a review store. Name another file with --store."
            )
        check = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if check != "ok":
            damage = " ".join(check.split())
            raise ReviewStoreError(
                f"the store {path} is damaged ({damage}). Replace it by a copy, or name another one with --store."
            )


def migrate(engine: Engine) -> None:
    """Migrate the tables to the current version; if several processes start at once, one does it."""
    config = Config()
    config.set_main_option("script_location", "attire.review:migrations")
    config.set_main_option("path_separator", "os")
    with engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": MIGRATING})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
