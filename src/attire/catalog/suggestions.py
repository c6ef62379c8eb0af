"""Fields to label next: CATALOG/suggestions.parquet, which `attire suggest` writes and `attire review` reads."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import polars as pl

from attire.catalog.store import Catalog
from attire.errors import CatalogError
from attire.files import read_parquet, replace_parquet

SUGGESTIONS = "suggestions.parquet"
# One row per field, most useful first. key: `CATEGORY` for the category. score: by how much its label would lower the
# doubt of all products, summed over them. rank: from 1.
SCHEMA = pl.Schema({"product": pl.String, "key": pl.String, "score": pl.Float64, "rank": pl.Int64})


def save_suggestions(catalog: Catalog, suggestions: pl.DataFrame) -> None:
    """Write suggestions.parquet into the catalog, atomically."""
    replace_parquet(catalog.path / SUGGESTIONS, suggestions.cast(SCHEMA))


def suggestions_of(catalog: Catalog) -> pl.DataFrame | None:
    """The suggestions that were last made for the catalog, in the order of their ranks; None if none were made.

    Raises `CatalogError` if the file cannot be read.
    """
    path = catalog.path / SUGGESTIONS
    try:
        suggestions = read_parquet(path).select(list(SCHEMA)).cast(SCHEMA)
    except FileNotFoundError:
        return None
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).split("\n", 1)[0]
        raise CatalogError(f"{path} cannot be read ({reason}). Run attire suggest {catalog.path} again.") from None
    # One row for each field, also if somebody else wrote the file, so that joins stay one to one.
    return suggestions.sort("rank").unique(["product", "key"], keep="first", maintain_order=True)


def forget_suggestions(folder: Path, ids: Collection[str]) -> None:
    """Erase the rows of these products, for a purge. A damaged file is removed."""
    path = folder / SUGGESTIONS
    if not path.is_file():
        return
    try:
        replace_parquet(path, read_parquet(path).select(list(SCHEMA)).filter(~pl.col("product").is_in(list(ids))))
    except pl.exceptions.PolarsError:
        path.unlink()
