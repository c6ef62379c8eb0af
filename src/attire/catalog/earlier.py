"""The existing catalog that is changed: its content, and checks against losing or mixing up its products."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import polars as pl

from attire.catalog.content import PRODUCTS, REVIEWED, Changes, Content
from attire.catalog.feed_row import Row
from attire.catalog.store import REVIEWS, TABLES, Manifest, read_manifest
from attire.catalog.versions import history, read_content
from attire.errors import CatalogError, first_ids
from attire.files import file_sha256, read_parquet
from attire.taxonomy import CATEGORY

CELLS = ("id", "category", "title", "group", "images")
SHOWN = 3  # ids listed in a message
REPLACE = (
    "Nothing was written. Use --update to keep what the feed does not name, --replace to replace the catalog, or "
    "another --out to keep both."
)


@dataclass(frozen=True, eq=False)  # the comparison of tables has no single truth value
class Earlier:
    """The existing catalog at `path`: its manifest, tables and content."""

    path: Path
    manifest: Manifest
    tables: Mapping[str, pl.DataFrame]
    content: Content

    @property
    def feed(self) -> Path:
        """The feed of the last ingest."""
        return Path(str(self.manifest.source.get("feed", ""))).absolute()

    @classmethod
    def read(cls, path: Path) -> Earlier | None:
        """Read the catalog; None if there is no finished catalog or its tables cannot be read."""
        manifest = read_manifest(path)
        if manifest is None:
            return None
        try:
            tables = {
                name: read_parquet(path / f"{name}.parquet").select([*columns]) for name, columns in TABLES.items()
            }
            reviewed = _reviewed(path, manifest)
        except (OSError, pl.exceptions.PolarsError):
            return None
        last = next((entry for entry in reversed(history(path)) if entry.digest == manifest.digest), None)
        try:
            content = None if last is None else read_content(path, last)
        except CatalogError:  # the tables are what counts
            content = None
        return cls(path, manifest, tables, (content or _content(tables))._replace(reviewed=reviewed))

    @classmethod
    def read_whole(cls, path: Path) -> Earlier | None:
        """Read a catalog that will be updated; None if there is none, `CatalogError` if it is damaged."""
        manifest = read_manifest(path)
        if manifest is None:
            return None
        for name in {*TABLES, *manifest.tables}:
            file = path / f"{name}.parquet"
            if not file.is_file() or file_sha256(file) != manifest.tables.get(name):
                raise CatalogError(
                    f"{file} is missing or was changed after ingest, so it cannot be updated. Ingest a feed of all "
                    "products with --replace."
                )
        earlier = cls.read(path)
        if earlier is None:
            raise CatalogError(f"{path} has other columns than expected. Ingest a feed of all products with --replace.")
        return earlier

    def rows(self) -> list[Row]:
        """The products as rows of a feed, numbered from 1, in the words of the catalog's taxonomy."""
        words: dict[str, dict[str, tuple[str, ...]]] = {}
        labels = self.content.labels.select("id", "key", "value")
        unknown = self.content.products.select("id", "unknown").explode("unknown").drop_nulls().unnest("unknown")
        for id, key, word in chain(labels.iter_rows(), unknown.iter_rows()):
            known = words.setdefault(id, {})
            known[key] = (*known.get(key, ()), word)
        products = self.content.products
        if "group" not in products.columns:
            # It is not known why products form a group, so that they stay together.
            groups = self.tables["products"].select("id", "group")
            shared = pl.len().over("group") > 1
            named = pl.when(shared).then(pl.format("group of {}", "group")).otherwise(pl.lit(""))
            products = products.join(groups.select("id", group=named), on="id", how="left", maintain_order="left")
        rows = []
        for number, (id, category, title, group, images) in enumerate(products.select(CELLS).iter_rows(), 1):
            stated = words.get(id, {})
            (unknown_category,) = stated.pop(CATEGORY, ("",))
            rows.append(Row(number, id, category or unknown_category, stated, tuple(images), title, group))
        return rows

    def photo_faults(self) -> dict[tuple[str, str], str]:
        """Why photos cannot be used: (id, name) -> reason."""
        photos = self.tables["quarantine"].filter(pl.col("kind") == "photo")
        return {(id, name): reason for id, name, reason in photos.select("id", "name", "reason").iter_rows()}

    def refuse_lost(self, feed: str | Path, changes: Changes, in_feed: Collection[str]) -> None:
        """Raise `CatalogError` if a product of the catalog is missing from the feed.

        Products whose ids are `in_feed` do not count as missing, even if their rows were quarantined.
        """
        if lost := [id for id in changes.gone if id not in in_feed]:
            count = f"{len(lost):,} of the {len(self.tables['products']):,}"
            raise CatalogError(
                f"{feed} lacks {count} products in {self.path} ({first_ids(lost, SHOWN)}): is it the feed of "
                f"another catalog? Products would be {changes}. {REPLACE}"
            )

    def refuse_mistaken(self, feed: str | Path, tables: Mapping[str, pl.DataFrame]) -> None:
        """Raise `CatalogError` if another feed has none of the photos that the catalog has for a product."""
        if Path(feed).absolute() == self.feed:
            return
        before, after = _photo_digests(self.tables), _photo_digests(tables)
        both = before.join(after, on="id", suffix="_after")
        shared = pl.col("sha256").list.set_intersection("sha256_after").list.len()
        if mistaken := both.filter(shared == 0)["id"].sort().to_list():
            raise CatalogError(
                f"all photos of {len(mistaken):,} products in {self.path} ({first_ids(mistaken, SHOWN)}) would be "
                f"replaced, and {feed} is not the feed of the catalog ({self.feed}): does it use the same ids for "
                f"other products? {REPLACE}"
            )


def _reviewed(path: Path, manifest: Manifest) -> pl.DataFrame:
    empty = pl.DataFrame(schema=REVIEWED)
    return read_parquet(path / f"{REVIEWS}.parquet").select([*REVIEWED]) if REVIEWS in manifest.tables else empty


def _content(tables: Mapping[str, pl.DataFrame]) -> Content:
    """The content of a catalog without versions: unreadable photos are in the quarantine, stated groups unknown."""
    unreadable = tables["quarantine"].filter(pl.col("kind") == "photo").group_by("id", maintain_order=True).agg("name")
    products = tables["products"].join(unreadable, on="id", how="left", maintain_order="left")
    images = pl.concat_list("images", pl.col("name").fill_null([]))
    return Content(
        products.select("id", "category", "title", images=images, unknown=pl.lit([], PRODUCTS["unknown"])),
        tables["labels"].with_columns(since=pl.lit(None, pl.Int64)),
    )


def _photo_digests(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Columns id, sha256: the digests of the photos of each product that has photos."""
    photos = tables["products"].select("id", name="images").explode("name").drop_nulls()
    return photos.join(tables["photos"].select("name", "sha256"), on="name").group_by("id").agg("sha256")
