"""Take products out of a catalog, as a version of it; a purge takes them out of its earlier versions as well.

A purge has more to do after the catalog has changed (photos, caches, review store). What is left to do is in
`purge.json`, which is written together with the changed catalog and removed at the end: a purge that is killed before
has not begun, and one that is killed later is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict

from attire.catalog.check import check_known
from attire.catalog.commit import PURGE
from attire.catalog.content import Changes, Content, changes
from attire.catalog.downloads import Downloads
from attire.catalog.earlier import Earlier
from attire.catalog.ingest import PHOTOS, WORK
from attire.catalog.new_words import NEW_WORDS, proposal, to_toml
from attire.catalog.photo_facts import PhotoFacts
from attire.catalog.reviewed import in_words_of
from attire.catalog.row_words import UnknownWord
from attire.catalog.splits import write_splits_of_rest
from attire.catalog.store import TAXONOMY, Catalog
from attire.catalog.tables import KeptPhotos, make_tables
from attire.catalog.versions import (
    Origin,
    history,
    id_digest,
    next_number,
    read_content,
    rewrite_version,
    write_version,
)
from attire.catalog.writing import in_tables, write_catalog
from attire.errors import CatalogError, did_you_mean, first_ids, shown
from attire.files import replace_text
from attire.photos.lookup import PhotoLookup
from attire.photos.remote import Remote
from attire.records import read_as


class Purge(BaseModel):
    """What a purge has to remove outside of the catalog's tables: products, and the SHA-256 of their own photos.

    photos are those that no other product has; store is the named store, without its password.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    ids: tuple[str, ...]
    photos: tuple[str, ...]
    store: str | None

    @classmethod
    def pending(cls, catalog: Path) -> Purge | None:
        """The purge that was interrupted in the catalog, if there is one; raises `CatalogError` if it is damaged."""
        file = catalog / PURGE
        if not file.exists():
            return None
        try:
            return read_as(file, cls)
        except (OSError, ValueError) as error:
            raise CatalogError(
                f"{file} cannot be read ({error}), so the interrupted purge cannot be finished: purge the products "
                "again from a backup of the catalog."
            ) from None

    def __or__(self, other: Purge | None) -> Purge:
        if other is None:
            return self
        ids, photos = sorted({*self.ids, *other.ids}), sorted({*self.photos, *other.photos})
        return Purge(ids=tuple(ids), photos=tuple(photos), store=self.store or other.store)


@dataclass(frozen=True, slots=True)
class Removal:
    """The catalog without the products, the number of its version, what changed, and the digests of earlier versions.

    photos: the SHA-256 of the photos of the removed products.
    """

    catalog: Catalog
    number: int
    changes: Changes
    digests: frozenset[str]
    photos: frozenset[str]


def refuse_unknown(catalog: Catalog, ids: Collection[str]) -> None:
    """Raise `CatalogError` for ids that are not in the catalog."""
    if unknown := sorted(set(ids) - set(catalog.ids)):
        hint = did_you_mean(unknown[0], catalog.ids[:10_000]) if len(unknown) == 1 else "."
        raise CatalogError(
            f"{len(unknown):,} of {len(set(ids)):,} ids are not in {catalog.path}: {first_ids(unknown)}{hint} "
            "Nothing was removed."
        )


def without_products(catalog: Catalog, ids: Collection[str], purge: Purge | None = None) -> Removal:
    """Write `catalog` without the products `ids`, as a version. The caller holds the lock (`writing`).

    With `purge` (what is left of an earlier one, or an empty one), the products are also taken out of all versions, and
    `purge.json` gets what is left to do.
    """
    out, gone = catalog.path, set(ids)
    earlier = Earlier.read_whole(out)
    assert earlier is not None  # the caller has loaded it
    left = replace(earlier, content=_without(earlier.content, gone))
    downloads = Downloads(out, out / PHOTOS, out / WORK, refetch=False)
    tables, unknown = _tables(left, catalog, gone, downloads)
    versions = history(out)
    number = next_number(versions)
    changed = changes(earlier.content.in_force(), left.content.in_force())
    origin = Origin("", None, "remove", removed=tuple(sorted(map(id_digest, gone))))
    photos, own = _photos(earlier.tables, gone)

    def record(staged: Path, digest: str) -> None:
        write_version(staged, number, left.content, changed, origin, digest)
        write_splits_of_rest(catalog, gone, digest, staged)
        downloads.write(staged, tables["photos"]["path"])
        if purge is not None:
            for version in versions:
                rewrite_version(staged, version, _without(read_content(out, version), gone))
            replace_text(staged / NEW_WORDS, to_toml(proposal(unknown, catalog.taxonomy)))
            todo = Purge(ids=tuple(gone), photos=tuple(own), store=purge.store) | purge
            replace_text(staged / PURGE, todo.model_dump_json(indent=1))

    toml = (out / TAXONOMY).read_text(encoding="utf-8")
    in_force = in_tables(left.content, tables)
    written = write_catalog(out, catalog.taxonomy, toml, in_force, earlier.manifest.source, record)
    digests = frozenset({*(entry.digest for entry in versions), catalog.digest})
    return Removal(written, number, changed, digests, photos)


def _without(content: Content, gone: Collection[str]) -> Content:
    return Content(*(rows.filter(~pl.col("id").is_in(list(gone))) for rows in content))


def _tables(
    left: Earlier, catalog: Catalog, gone: Collection[str], downloads: Downloads
) -> tuple[dict[str, pl.DataFrame], set[UnknownWord]]:
    """The tables of the products that are left, grouped anew, and their words that the taxonomy lacks."""
    checked = check_known(left.rows(), catalog.taxonomy)
    facts = {fact["name"]: fact for fact in left.tables["photos"].iter_rows(named=True)}
    images = {product.id: product.images for product in checked.products}
    kept = KeptPhotos(facts, left.photo_faults(), images, frozenset(images))
    nowhere = PhotoLookup([], catalog.path / PHOTOS, catalog.path / WORK, Remote(()))
    opener = PhotoFacts(catalog.path / WORK, None)
    tables = make_tables(checked.products, [], nowhere, downloads, opener, catalog.path, kept)
    about_rows = left.tables["quarantine"].filter(pl.col("kind") == "row")
    names_gone = pl.col("reason").str.contains_any([f"'{shown(id)}'" for id in gone])
    tables["quarantine"] = pl.concat([about_rows.filter(~names_gone), tables["quarantine"]])
    return tables, checked.unknown | in_words_of(catalog.taxonomy, left.content.reviewed)[1]


def _photos(tables: Mapping[str, pl.DataFrame], gone: Collection[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The SHA-256 of the photos of the products `gone`, and of those that no other product has."""
    images = tables["products"].select("id", name="images").explode("name").drop_nulls()
    photos = images.join(tables["photos"].select("name", "sha256"), on="name")
    is_gone = pl.col("id").is_in(list(gone))
    theirs, others = (frozenset(photos.filter(condition)["sha256"]) for condition in (is_gone, ~is_gone))
    return theirs, theirs - others
