"""Remove products from a catalog; a purge also removes all that the catalog and its caches hold of them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from attire.catalog.commit import PURGE, writing
from attire.catalog.content import Changes
from attire.catalog.ingest import PHOTOS, WORK
from attire.catalog.removal import Purge, Removal, refuse_unknown, without_products
from attire.catalog.store import Catalog
from attire.catalog.suggestions import SUGGESTION_TABLE
from attire.catalog.suspects import SUSPECT_TABLE
from attire.errors import CatalogError, ConfigError, MissingExtraError
from attire.photos.index import remove_unlisted
from attire.pixels.forgetting import forget_photos
from attire.storage import not_written

if TYPE_CHECKING:
    from attire.removal.traces import Trace
    from attire.review.store.events import Store

STORE = "review.sqlite"  # in the catalog; its module needs an extra
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Removed:
    """The catalog after `remove`, and what was removed.

    version: the number of the new version, None if an interrupted purge was only finished. changes: the numbers of
    products. purged: all products that were purged, with those of an interrupted purge. photos, cached, reviews: the
    numbers of photo files, entries of caches and decisions that were erased. traces: reports and bundles that still
    hold something of the products.
    """

    catalog: Catalog
    version: int | None
    changes: Changes
    purged: int = 0
    photos: int = 0
    cached: int = 0
    reviews: int = 0
    traces: tuple[Trace, ...] = ()


def remove(
    catalog: Catalog | str | Path,
    ids: str | Collection[str] = (),
    *,
    purge: bool = False,
    store: str | Path | None = None,
    look_in: Iterable[str | Path] | None = None,
) -> Removed:
    """Remove products, by their ids, from the catalog, as a version of it. The others keep their split.

    The products stay in earlier versions, and their photos where they are. With `purge` they are erased: from all
    versions, from the photos that the catalog unpacked or downloaded, from the caches of pixels and embeddings (except
    photos that another product has too) and from the review store, where the log of their decisions stays without
    content. Feeds, and photos in your own folders, are never touched. The result lists the reports and bundles in the
    directories `look_in` (by default those next to the catalog) that hold something of the products.

    A kill leaves the old version or the new one. If it interrupts a purge after the new version was written, the next
    call with `purge` (with any or no `ids`) finishes it first, and says so.

    `store` is the review store, by default that in the catalog, if there is one. Raises `CatalogError` for ids that are
    not in the catalog, before anything is removed, `ConfigError` if there is nothing to do, and `ReviewStoreError` or
    `StorageError` if something cannot be erased: then call it again.
    """
    out, ids = (
        (catalog.path if isinstance(catalog, Catalog) else Path(catalog)).absolute(),
        {ids} if isinstance(ids, str) else set(ids),
    )
    if not out.is_dir():
        raise CatalogError(f"{out} does not exist. Expected the --out of an attire ingest.")
    with writing(out, purging=True):
        opened, pending = Catalog.verified(out), Purge.pending(out)
        _check_wanted(out, ids, pending, store, purge=purge)
        new = ids.difference(pending.ids) if pending else ids
        refuse_unknown(opened, new)
        decisions = _open_store(out, store) if purge else None
        todo = (pending or Purge(ids=(), photos=(), store=None)) if purge else None
        if todo is not None and store is not None and decisions is not None:
            todo = todo.model_copy(update={"store": decisions.name})
        try:
            removal = without_products(opened, new, todo) if new else None
            removed = Removed(opened, None, Changes([], [], len(opened), []))
            if removal is not None:
                removed = Removed(removal.catalog, removal.number, removal.changes)
            return _erase_traces(removed, removal, decisions, look_in) if purge else removed
        except OSError as error:
            raise CatalogError(not_written(f"the catalog {out}", error)) from error


def _check_wanted(
    out: Path, ids: Collection[str], pending: Purge | None, store: str | Path | None, *, purge: bool
) -> None:
    """Raise `ConfigError` if there is nothing to do, or an interrupted purge comes first and cannot be finished."""
    if pending is None:
        if not ids:
            raise ConfigError("no products to remove: name their ids.")
        return
    interrupted = f"{out}: the purge of {len(pending.ids):,} products was interrupted"
    if not purge:
        raise ConfigError(f"{interrupted}. Finish it first: attire remove {out} --purge")
    if pending.store is not None and store is None:
        raise ConfigError(f"{interrupted}, and {pending.store} still has decisions on them: name it with --store.")
    logger.info("%s and is finished now", interrupted)


def _open_store(out: Path, store: str | Path | None) -> Store | None:
    """The review store, before anything is removed, so that one that cannot be used is reported in time."""
    if store is None and not (out / STORE).is_file():
        return None
    try:
        from attire.review.store.events import Store
    except ImportError:
        raise MissingExtraError("the review store", "review") from None
    return Store(store or out / STORE, create=False)


def _erase_traces(
    removed: Removed, removal: Removal | None, decisions: Store | None, look_in: Iterable[str | Path] | None
) -> Removed:
    """Do what `purge.json` says, and remove it; every step may be repeated."""
    catalog, out = removed.catalog, removed.catalog.path
    todo = Purge.pending(out)
    assert todo is not None  # it was written with the catalog, or is that of an interrupted purge
    files = remove_unlisted(out / PHOTOS, (out / path for path in catalog.photos["path"]))
    shutil.rmtree(out / WORK, ignore_errors=True)
    cached = forget_photos(catalog, todo.photos)
    SUGGESTION_TABLE.forget(out, todo.ids)
    SUSPECT_TABLE.forget(out, todo.ids)
    reviews = _redact(decisions, todo.ids)
    (out / PURGE).unlink()
    from attire.removal.traces import beside, find_traces  # imports torch

    photos = {*todo.photos, *(removal.photos if removal else ())}
    folders = beside(out) if look_in is None else [*map(Path, look_in)]
    traces = find_traces(folders, todo.ids, photos, removal.digests if removal else ())
    return replace(removed, purged=len(todo.ids), photos=files, cached=cached, reviews=reviews, traces=tuple(traces))


def _redact(decisions: Store | None, ids: Sequence[str]) -> int:
    if decisions is None:
        return 0
    from attire.review.store.redaction import redact

    try:
        return redact(decisions, ids)
    finally:
        decisions.close()
