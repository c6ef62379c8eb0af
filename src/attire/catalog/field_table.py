"""Tables about a catalog's fields that one verb keeps beside its other tables, and `attire review` reads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from attire.catalog.store import Catalog
from attire.errors import CatalogError
from attire.files import read_parquet, replace_parquet


class FieldTable(NamedTuple):
    """CATALOG/`file`, a row per field, which `verb` writes. products: the columns that name products."""

    file: str
    schema: pl.Schema
    verb: str
    products: Sequence[str] = ("product",)

    def save(self, catalog: Catalog, table: pl.DataFrame) -> None:
        """Write the table into the catalog, atomically."""
        replace_parquet(catalog.path / self.file, table.cast(self.schema))

    def read(self, catalog: Catalog) -> pl.DataFrame | None:
        """The table; None if there is none. Raises `CatalogError` if it cannot be read."""
        path = catalog.path / self.file
        try:
            return read_parquet(path).select(list(self.schema)).cast(self.schema)
        except FileNotFoundError:
            return None
        except (OSError, pl.exceptions.PolarsError) as error:
            reason = str(error).split("\n", 1)[0]
            raise CatalogError(f"{path} cannot be read ({reason}). Run {self.verb} {catalog.path} again.") from None

    def forget(self, folder: Path, ids: Collection[str]) -> None:
        """Erase all rows that name one of the products, for a purge. A damaged file is removed."""
        path = folder / self.file
        if not path.is_file():
            return
        try:
            named = pl.any_horizontal(pl.col(name).is_in(list(ids)).fill_null(False) for name in self.products)
            replace_parquet(path, read_parquet(path).select(list(self.schema)).filter(~named))
        except pl.exceptions.PolarsError:
            path.unlink()
