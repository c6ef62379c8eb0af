"""Changes that ingesting again would make to an existing catalog, and checks against losing or mixing up products."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from attire.catalog.store import read_manifest
from attire.errors import CatalogError
from attire.files import read_parquet

SHOWN = 3  # ids listed in a message
REPLACE = "Nothing was written. Use --replace to replace the catalog, or another --out to keep both."


class Changes(NamedTuple):
    """Sorted product ids. Products in `changed` have another category, title or label than before."""

    added: list[str]
    changed: list[str]
    dropped: list[str]

    def __str__(self) -> str:
        return f"{len(self.added):,} added, {len(self.changed):,} changed, {len(self.dropped):,} dropped"


@dataclass(frozen=True, eq=False)  # the comparison of tables has no single truth value
class Earlier:
    """The existing catalog at `path`: its `tables` (products, labels, photos), and the feed it was made from."""

    path: Path
    feed: Path
    tables: Mapping[str, pl.DataFrame]

    @classmethod
    def read(cls, path: Path) -> Earlier | None:
        """Read the catalog; None if there is no finished catalog or its tables cannot be read."""
        manifest = read_manifest(path)
        if manifest is None:
            return None
        try:
            tables = {
                name: read_parquet(path / f"{name}.parquet", columns)
                for name, columns in (
                    ("products", ["id", "category", "title", "images"]),
                    ("labels", ["id", "key", "value"]),
                    ("photos", ["name", "sha256"]),
                )
            }
        except (OSError, pl.exceptions.PolarsError):
            return None
        return cls(path, Path(str(manifest.source.get("feed", ""))).absolute(), tables)

    def changes(
        self, products: Sequence[tuple[str, str | None, str]], labels: pl.DataFrame, in_feed: Collection[str]
    ) -> Changes:
        """Compare the catalog with the new `products` (id, category, title) and `labels`.

        Products whose ids are `in_feed` do not count as dropped, even if their rows were quarantined.
        """
        new = pl.DataFrame(list(products), dict.fromkeys(("id", "category", "title"), pl.String), orient="row")
        before, after = _contents(self.tables["products"], self.tables["labels"]), _contents(new, labels)
        feed_ids = pl.DataFrame({"id": list(in_feed)}, {"id": pl.String})
        both = before.join(after, on="id", suffix="_after")
        changes = (
            after.join(before, on="id", how="anti"),
            both.filter(pl.col("content") != pl.col("content_after")),
            before.join(after, on="id", how="anti").join(feed_ids, on="id", how="anti"),
        )
        return Changes(*(table["id"].sort().to_list() for table in changes))

    def refuse_lost(self, feed: str | Path, changes: Changes) -> None:
        """Raise `CatalogError` if a product of the catalog is missing from the feed."""
        if changes.dropped:
            count = f"{len(changes.dropped):,} of the {len(self.tables['products']):,}"
            raise CatalogError(
                f"{feed} lacks {count} products in {self.path} ({_first_ids(changes.dropped)}): is it the feed of "
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
                f"all photos of {len(mistaken):,} products in {self.path} ({_first_ids(mistaken)}) would be replaced, "
                f"and {feed} is not the feed of the catalog ({self.feed}): does it use the same ids for other "
                f"products? {REPLACE}"
            )


def _contents(products: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Columns id, content: the category, title and labels of a product as one text."""
    labels = labels.sort("key", "value").group_by("id").agg(labels=pl.format("{}={}", "key", "value").str.join("\n"))
    words = pl.concat_str(pl.col("category", "title", "labels").fill_null(""), separator="\n")
    return products.select("id", "category", "title").join(labels, on="id", how="left").select("id", content=words)


def _photo_digests(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Columns id, sha256: the digests of the photos of each product that has photos."""
    photos = tables["products"].select("id", name="images").explode("name").drop_nulls()
    return photos.join(tables["photos"].select("name", "sha256"), on="name").group_by("id").agg("sha256")


def _first_ids(ids: Sequence[str]) -> str:
    shown = ", ".join(f"'{id}'" for id in ids[:SHOWN])
    return f"{shown} and {len(ids) - SHOWN:,} more" if len(ids) > SHOWN else shown
