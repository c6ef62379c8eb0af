"""How evenly categories and values are distributed over the splits of a catalog."""

from __future__ import annotations

import numpy as np
import polars as pl

from attire.catalog.split_changes import SPLIT_NAMES
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.catalog.stratification import marks_of
from attire.taxonomy import CATEGORY, Taxonomy

RARE = 20  # with fewer products than this, a deviation is mostly rounding


def balance(catalog: Catalog, splits: Splits) -> pl.DataFrame:
    """How far each split is from its target share: a row per split (except train) and category or value.

    Columns: split, key (`CATEGORY` for categories), value, count (products in the whole catalog), share (of those
    products in this split), deviation (share minus the split's target share).
    """
    marks, names = marks_of(catalog), _names(catalog.taxonomy)
    count = marks.sum(axis=0)
    tables = []
    for name in SPLIT_NAMES[1:]:
        if getattr(splits, name):
            share = marks[catalog.rows_of(splits[name])].sum(axis=0) / np.maximum(count, 1)
            columns = {"count": count, "share": share, "deviation": share - splits.shares[name]}
            tables.append(
                pl.DataFrame(names, schema=["key", "value"], orient="row").with_columns(
                    pl.lit(name).alias("split"), **{column: pl.Series(cells) for column, cells in columns.items()}
                )
            )
    return pl.concat(tables).filter(pl.col("count") > 0).select("split", "key", "value", "count", "share", "deviation")


def deviations(table: pl.DataFrame) -> pl.DataFrame:
    """A summary of `balance`: per split, for categories and for values with at least `RARE` products, their number and
    their mean and largest absolute deviation (`things`, `mean`, `largest`)."""
    kind = pl.when(pl.col("key") == CATEGORY).then(pl.lit("categories")).otherwise(pl.lit("values"))
    deviation = pl.col("deviation").abs()
    return (
        table.filter(pl.col("count") >= RARE)
        .group_by("split", kind.alias("kind"), maintain_order=True)
        .agg(pl.len().alias("things"), deviation.mean().alias("mean"), deviation.max().alias("largest"))
    )


def _names(taxonomy: Taxonomy) -> list[tuple[str, str]]:
    return [*((CATEGORY, c) for c in taxonomy.categories), *taxonomy.column_index]
