"""The suggested fields as a table, which `attire suggest` keeps in the catalog and the review page reads.

CATALOG/suggestions.parquet   product, key (`CATEGORY` for the category), score, rank: from 1, the most useful first
"""

from __future__ import annotations

from typing import Any

import polars as pl

from attire.catalog.store import Catalog
from attire.errors import CatalogError
from attire.files import read_parquet

SUGGESTIONS = "suggestions.parquet"
COLUMNS: dict[str, Any] = {"product": pl.String, "key": pl.String, "score": pl.Float64, "rank": pl.Int64}


def saved_suggestions(catalog: Catalog) -> pl.DataFrame:
    """The suggestions that were last made for the catalog, in the order of their ranks; empty if there are none.

    Raises `CatalogError` if the table cannot be read.
    """
    file = catalog.path / SUGGESTIONS
    try:
        return read_parquet(file, list(COLUMNS)).cast(COLUMNS).sort("rank")
    except FileNotFoundError:
        return pl.DataFrame(schema=COLUMNS)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).split("\n", 1)[0]
        raise CatalogError(f"{file} cannot be read ({reason}): remove it, or run 'attire suggest' again.") from None
