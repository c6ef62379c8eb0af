"""Sets of duplicates with their photos, as a single HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from attire.catalog.store import Catalog
from attire.evaluation.rendering import render
from attire.photos.data_uri import thumbnail
from attire.progress import track

SHOWN = 200  # sets; the table has all
EACH = 8  # products of a set
SIDE_PX = 112


def page(catalog: Catalog, table: pl.DataFrame) -> str:
    """Render the first sets of a table of duplicates, with a thumbnail of each product."""
    return render(
        "duplicates.html",
        "attire.twins",
        catalog=str(catalog.path),
        products=len(table),
        number=table["set"].n_unique(),
        contradicting=table.filter(pl.col("contradictions") != "")["set"].n_unique(),
        sets=list(_sets(catalog, table.filter(pl.col("set") <= SHOWN))),
    )


def _sets(catalog: Catalog, table: pl.DataFrame) -> Iterator[dict[str, Any]]:
    sets = table.partition_by("set", maintain_order=True)
    for rows in track(sets, "making thumbnails", "sets", len(sets)):
        shown = rows.head(EACH)
        photos = catalog.photo_paths(catalog.rows_of(shown["id"].to_list()))
        yield {
            "number": rows["set"][0],
            "how": rows["how"][0],
            "more": len(rows) - len(shown),
            "products": [
                {
                    "id": row["id"],
                    "category": row["category"] or "no category",
                    "photo": thumbnail(views[0], SIDE_PX) if views else "",
                    "stated": row["contradictions"].split("; ") if row["contradictions"] else [],
                }
                for row, views in zip(shown.iter_rows(named=True), photos, strict=True)
            ],
        }
