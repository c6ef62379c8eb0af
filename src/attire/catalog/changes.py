"""What ingesting again would do to the catalog that is there: products added, changed, dropped, mistaken for others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from attire.catalog.store import read_manifest
from attire.errors import CatalogError
from attire.files import read_parquet

SHOWN = 3  # ids in a message
REPLACE = "Nothing was written. --replace makes the catalog of this feed alone; another --out keeps both."


class Changes(NamedTuple):
    """Ids, sorted. `changed` have another category, title or label than before."""

    added: list[str]
    changed: list[str]
    dropped: list[str]

    def __str__(self) -> str:
        return f"{len(self.added):,} added, {len(self.changed):,} changed, {len(self.dropped):,} dropped"


@dataclass(frozen=True, eq=False)  # tables have no truth value
class Earlier:
    """The catalog at `path` as it is: `tables` of products, labels and photos, and the feed that they were made of."""

    path: Path
    feed: Path
    tables: Mapping[str, pl.DataFrame]

    @classmethod
    def read(cls, path: Path) -> Earlier | None:
        """None where no catalog was finished, or its tables cannot be read."""
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
        """What becomes of the products by the new `products` (id, category, title) and `labels`.

        Products of `in_feed` are not dropped, even if their rows were set aside.
        """
        stated = pl.DataFrame(list(products), dict.fromkeys(("id", "category", "title"), pl.String), orient="row")
        before, after = _said(self.tables["products"], self.tables["labels"]), _said(stated, labels)
        known = pl.DataFrame({"id": list(in_feed)}, {"id": pl.String})
        both = before.join(after, on="id", suffix="_after")
        found = (
            after.join(before, on="id", how="anti"),
            both.filter(pl.col("said") != pl.col("said_after")),
            before.join(after, on="id", how="anti").join(known, on="id", how="anti"),
        )
        return Changes(*(table["id"].sort().to_list() for table in found))

    def refuse_lost(self, feed: str | Path, changes: Changes) -> None:
        """Raise `CatalogError` where a product that the catalog has is not in the feed."""
        if changes.dropped:
            count = f"{len(changes.dropped):,} of the {len(self.tables['products']):,}"
            raise CatalogError(
                f"{feed} lacks {count} products in {self.path} ({_some(changes.dropped)}): is it the feed of another "
                f"catalog? Products would be {changes}. {REPLACE}"
            )

    def refuse_mistaken(self, feed: str | Path, tables: Mapping[str, pl.DataFrame]) -> None:
        """Raise `CatalogError` where another feed has none of the photos that the catalog has of a product."""
        if Path(feed).absolute() == self.feed:
            return
        before, after = _shown(self.tables), _shown(tables)
        both = before.join(after, on="id", suffix="_after")
        shared = pl.col("sha256").list.set_intersection("sha256_after").list.len()
        if other := both.filter(shared == 0)["id"].sort().to_list():
            raise CatalogError(
                f"{len(other):,} of the products in {self.path} ({_some(other)}) would get other photos for all that "
                f"they have, for {feed} is another feed than {self.feed}: does it give other products the same ids? "
                f"{REPLACE}"
            )


def _said(products: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """id, said: all words of a product as one text."""
    labels = labels.sort("key", "value").group_by("id").agg(labels=pl.format("{}={}", "key", "value").str.join("\n"))
    words = pl.concat_str(pl.col("category", "title", "labels").fill_null(""), separator="\n")
    return products.select("id", "category", "title").join(labels, on="id", how="left").select("id", said=words)


def _shown(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """id, sha256: the contents of the photos of each product that has any."""
    photos = tables["products"].select("id", name="images").explode("name").drop_nulls()
    return photos.join(tables["photos"].select("name", "sha256"), on="name").group_by("id").agg("sha256")


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(f"'{id}'" for id in ids[:SHOWN])
    return f"{shown} and {len(ids) - SHOWN:,} more" if len(ids) > SHOWN else shown
