"""The feed that people fill in: a row per suggested product, a column per key, and the fields to fill in order."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from attire.catalog.store import Catalog
from attire.files import replacing
from attire.spreadsheets import safe_text
from attire.taxonomy import CATEGORY, SEPARATOR, Taxonomy

ASK, PHOTO = "ask", "photo"  # columns for people, which ingest ignores: the fields to fill in, the path of a photo
STANDARD = ("id", "image", "title", "category")  # those of a feed


def worksheet_columns(taxonomy: Taxonomy) -> dict[str, str]:
    """The names of the columns that are not keys, changed where a key has the same name."""
    names = (PHOTO, ASK, *STANDARD)
    return {name: name if name not in taxonomy.keys else f"product {name}" for name in names}


def worksheet(catalog: Catalog, suggestions: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    """The rows of the feed, with columns `names` (`worksheet_columns`) and those of the keys that are asked for.

    A row has what is known of its product, blank cells, and the names of the columns to fill. The column of photo names
    is blank, which an update takes for "as before", so that nobody has to find the photos again. So are cells that a
    spreadsheet would run as a formula; a product with such an id has no row.
    """
    asked = suggestions.group_by("product", maintain_order=True).agg("key")
    paths = catalog.photo_paths(catalog.rows_of(asked["product"].to_list()))
    keys = [key for key in catalog.taxonomy.keys if key in set(suggestions["key"])]
    rows = []
    for (id, wanted), photos in zip(asked.iter_rows(), paths, strict=True):
        product = catalog[id]
        cells = {
            names["id"]: id,
            names[PHOTO]: str(photos[0].absolute()),
            names[ASK]: ", ".join(names["category"] if key == CATEGORY else key for key in wanted),
            names["title"]: product.title,
            names["category"]: product.category,
            **{key: SEPARATOR.join(product.labels.get(key, ())) for key in keys},
        }
        if safe_text(id) == id:
            rows.append({name: text if text and safe_text(text) == text else None for name, text in cells.items()})
    order = ("id", PHOTO, ASK, "title", "image", "category")
    return pl.DataFrame(rows, dict.fromkeys([*(names[name] for name in order), *keys], pl.String))


def write_worksheet(path: Path, rows: pl.DataFrame) -> None:
    """Write the feed as CSV. It starts with a byte order mark, without which Excel would not read it as UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        rows.write_csv(temporary.absolute(), include_bom=True)


def ingest_command(catalog: Catalog, sheet: Path, names: Mapping[str, str]) -> str:
    """The command that reads the filled feed."""
    renamed = [word for name in STANDARD if names[name] != name for word in (f"--{name}", names[name])]
    ignored = ["--ignore", names[PHOTO], names[ASK]]
    return shlex.join(["attire", "ingest", str(sheet), "--update", *ignored, *renamed, "--out", str(catalog.path)])
