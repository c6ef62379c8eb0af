"""Fields to label next: CATALOG/suggestions.parquet, which `attire suggest` writes and `attire review` reads."""

from __future__ import annotations

import polars as pl

from attire.catalog.field_table import FieldTable
from attire.catalog.store import Catalog

SUGGESTIONS = "suggestions.parquet"
# One row per field, most useful first. key: `CATEGORY` for the category. score: by how much its label would lower the
# doubt of all products, summed over them. rank: from 1.
SCHEMA = pl.Schema({"product": pl.String, "key": pl.String, "score": pl.Float64, "rank": pl.Int64})


SUGGESTION_TABLE = FieldTable(SUGGESTIONS, SCHEMA, "attire suggest")


def suggestions_of(catalog: Catalog) -> pl.DataFrame | None:
    """The suggestions that were last made for the catalog, in the order of their ranks; None if none were made.

    Raises `CatalogError` if the file cannot be read.
    """
    suggestions = SUGGESTION_TABLE.read(catalog)
    if suggestions is None:
        return None
    # One row for each field, also if somebody else wrote the file, so that joins stay one to one.
    return suggestions.sort("rank").unique(["product", "key"], keep="first", maintain_order=True)
