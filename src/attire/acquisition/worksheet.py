"""The feed that people fill in: a row per suggested product, a column per key, and the fields to fill in order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from attire.catalog.own_feeds import standard_columns
from attire.catalog.store import Catalog
from attire.files import replacing
from attire.spreadsheets import safe_text
from attire.taxonomy import CATEGORY, SEPARATOR

ASK = "ask"  # the column with the fields to fill in


def worksheet_columns(catalog: Catalog) -> dict[str, str]:
    """The names of the columns that are not keys; that of `ASK` is for people, and is ignored by ingest."""
    return standard_columns(catalog.taxonomy, ("id", "image", "title", ASK, "category"))


def worksheet(catalog: Catalog, suggestions: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    """The rows of the feed, with columns `names` (`worksheet_columns`) and those of the keys that are asked for.

    A row has what is known of its product, blank cells, and the names of the columns to fill. What a spreadsheet would
    run as a formula is left out: cells are blank, which an update takes for "as before", and a product with such an id
    has no row.
    """
    keys = [key for key in catalog.taxonomy.keys if key in set(suggestions["key"])]
    asked = suggestions.group_by("product", maintain_order=True).agg("key")
    rows = []
    for id, wanted in asked.iter_rows():
        if _cell(id) != id:
            continue
        product = catalog[id]
        rows.append(
            {
                names["id"]: id,
                names["image"]: _cell(SEPARATOR.join(product.images)),
                names["title"]: _cell(product.title),
                names[ASK]: ", ".join(names["category"] if key == CATEGORY else key for key in wanted),
                names["category"]: _cell(product.category or ""),
                **{key: _cell(SEPARATOR.join(product.labels.get(key, ()))) for key in keys},
            }
        )
    return pl.DataFrame(rows, dict.fromkeys([*names.values(), *keys], pl.String))


def write_worksheet(path: Path, rows: pl.DataFrame) -> None:
    """Write the feed as CSV. It starts with a byte order mark, without which Excel would not read it as UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        rows.write_csv(temporary.absolute(), include_bom=True)


def _cell(text: str) -> str:
    """The text, or "" if a spreadsheet would run it."""
    return text if safe_text(text) == text else ""
