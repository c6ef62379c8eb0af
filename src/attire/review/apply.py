"""Write the decisions of a store into the catalog, as a version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from attire.catalog.content import IN_FORCE, REVIEWED, Changes
from attire.catalog.review_version import write_reviews
from attire.catalog.store import Catalog
from attire.review.decisions import decisions_on, open_store
from attire.review.store.samples import sampled


@dataclass(frozen=True, slots=True)
class Applied:
    """The catalog after `apply_reviews`, and what was done.

    version: the number of the new version, None if there was nothing new. decided: decisions in the store on products
    of the catalog. fields: those that are new, other or withdrawn since the last time. changes: products whose content
    differs now. gone: decisions on products that the catalog no longer has. waiting: decisions with a value that the
    taxonomy lacks, so that the field has no label. audited: products that nothing is trained on, because a field of
    the random sample was judged in their group.
    """

    catalog: Catalog
    version: int | None
    decided: int
    fields: int
    changes: Changes
    gone: int
    waiting: int
    audited: int


def apply_reviews(catalog: Catalog | str | Path, store: str | Path | None = None) -> Applied:
    """Write the decisions of the review store into the catalog as a version, whose labels are from `review`.

    May be repeated: only what is new since the last time is written, and if nothing is, there is no new version. A
    decision that was undone gives the field back to the feed. The decisions outrank what later feeds state (see
    `ingest`). Products with a judged field of the random sample are not trained on from now on (`Catalog.audited`), so
    that the precision measured on it stays honest.

    `store` is a file or a URL, by default that of the review page. Raises `ConfigError` if there is no store or it is
    that of another catalog, `ReviewStoreError` if it cannot be read, and `CatalogError` if the catalog cannot be read
    or written, or a decision does not fit its taxonomy.
    """
    catalog = Catalog.of(catalog)
    opened = open_store(catalog.path, store)
    try:
        decisions, sample = decisions_on(catalog, opened), sampled(opened)
        name = opened.name
    finally:
        opened.close()
    rows = [
        (*field, decision.state, list(decision.values), decision.reviewer, decision.at, field in sample, IN_FORCE, None)
        for field, decision in decisions.decided.items()
    ]
    written = write_reviews(catalog.path.absolute(), pl.DataFrame(rows, REVIEWED, orient="row"), decisions.undone, name)
    return Applied(
        written.catalog,
        written.number,
        len(rows),
        written.fields,
        written.changes,
        decisions.gone,
        len({(word.id, word.key) for word in written.unknown}),
        len(written.catalog.audited),
    )
