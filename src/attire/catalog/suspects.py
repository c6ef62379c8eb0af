"""Labels that are probably wrong: CATALOG/suspects.parquet, which `attire audit` writes and `attire review` reads."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Any

import polars as pl

from attire.catalog.store import Catalog
from attire.errors import CatalogError
from attire.files import read_parquet, replace_parquet
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


def save_suspects(catalog: Catalog, suspects: pl.DataFrame) -> None:
    """Write suspects.parquet into the catalog, atomically."""
    replace_parquet(catalog.path / SUSPECTS, suspects.cast(pl.Schema(SCHEMA)))


def suspects_of(catalog: Catalog) -> pl.DataFrame | None:
    """The suspects that were found in the catalog, in their order; None if it was not audited.

    Those are left out whose product is gone, or whose label is another one now. Raises `CatalogError` if the file
    cannot be read.
    """
    path = catalog.path / SUSPECTS
    try:
        suspects = read_parquet(path).select(*SCHEMA).cast(pl.Schema(SCHEMA))
    except FileNotFoundError:
        return None
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).split("\n", 1)[0]
        raise CatalogError(f"{path} cannot be read ({reason}). Run attire audit {catalog.path} again.") from None
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


def forget_suspects(folder: Path, ids: Collection[str]) -> None:
    """Erase all rows that name one of the products, for a purge. A damaged file is removed."""
    path = folder / SUSPECTS
    if not path.is_file():
        return
    try:
        suspects, gone = read_parquet(path).select(*SCHEMA), list(ids)
        named = pl.col("product").is_in(gone) | pl.col("twin").is_in(gone).fill_null(False)
        replace_parquet(path, suspects.filter(~named))
    except pl.exceptions.PolarsError:
        path.unlink()
