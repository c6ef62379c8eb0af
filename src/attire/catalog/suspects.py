"""Labels that are probably wrong: CATALOG/suspects.parquet, which `attire audit` writes and `attire review` reads."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import polars as pl

from attire.catalog.field_table import FieldTable
from attire.catalog.store import Catalog
from attire.taxonomy import CATEGORY, SEPARATOR

SUSPECTS = "suspects.parquet"
FIELDS = ["product", "key"]


class Kind(StrEnum):
    """What is probably wrong about a label."""

    WRONG_VALUE = "wrong value"
    MISSING_VALUE = "missing value"  # of a key of arity many
    DOES_NOT_APPLY = "key does not apply"
    WRONG_CATEGORY = "wrong category"
    CONTRADICTS_TWIN = "contradicts its twin"


# One row per field, most suspicious first. key: `CATEGORY` for the category. stated, proposed: values joined by
# `SEPARATOR`; proposed is null if the key does not apply. score: probability that the label is wrong. confidence: of
# the proposed values. fold: of the network that answered, which had not learned the product. twin: another product
# with nearly the same photo and another value, if there is one.
SCHEMA: dict[str, Any] = {
    "product": pl.String,
    "key": pl.String,
    "kind": pl.String,
    "stated": pl.String,
    "proposed": pl.String,
    "score": pl.Float64,
    "confidence": pl.Float64,
    "fold": pl.Int64,
    "twin": pl.String,
}


SUSPECT_TABLE = FieldTable(SUSPECTS, pl.Schema(SCHEMA), "attire audit", ("product", "twin"))


def suspects_of(catalog: Catalog) -> pl.DataFrame | None:
    """The suspects that were found in the catalog, in their order; None if it was not audited.

    Those are left out whose product is gone, or whose label is another one now. Raises `CatalogError` if the file
    cannot be read.
    """
    suspects = SUSPECT_TABLE.read(catalog)
    if suspects is None:
        return None
    # The most suspicious row counts if somebody else wrote several for a field, so that joins stay one to one.
    suspects = suspects.unique(FIELDS, keep="first", maintain_order=True)
    return suspects.join(stated_labels(catalog), on=[*FIELDS, "stated"], how="semi", maintain_order="left")


def stated_labels(catalog: Catalog) -> pl.DataFrame:
    """product, key, stated: the labels and categories, with values in the taxonomy's order."""
    columns = catalog.taxonomy.column_index
    labels = catalog.labels.with_columns(
        column=pl.Series([columns[pair] for pair in catalog.labels.select("key", "value").iter_rows()], dtype=pl.Int64)
    )
    by_key = labels.sort("column").group_by(product="id", key="key").agg(stated=pl.col("value").str.join(SEPARATOR))
    categories = catalog.products.filter(pl.col("category").is_not_null()).select(
        product="id", key=pl.lit(CATEGORY), stated="category"
    )
    return pl.concat([by_key, categories])
