"""Find products that share a photo, have nearly the same one, or that a bundle can hardly tell apart."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from attire.bundle import ModelBundle
from attire.catalog.duplicates import tie
from attire.catalog.store import Catalog
from attire.catalog.twins import Pairs, contradictions, nearly_shared_photos, shared_photos, stated_of
from attire.errors import ConfigError
from attire.files import replace_bytes
from attire.neighbours.alike import alike
from attire.spreadsheets import safe_table
from attire.storage import storing
from attire.taxonomy import SEPARATOR, key_label
from attire.twins.page import page

SHARED, NEARLY, ALIKE = "same photo", "nearly the same photo", "alike to the model"
SIMILARITY = 0.97  # by eye on real photos (docs/experiments.md)
TABLE: dict[str, Any] = {
    "set": pl.Int64,
    "how": pl.String,
    "id": pl.String,
    "category": pl.String,
    "title": pl.String,
    "photo": pl.String,
    "contradictions": pl.String,
}


def duplicates(
    catalog: Catalog | str | Path,
    bundle: ModelBundle | str | Path | None = None,
    *,
    similarity: float = SIMILARITY,
    out: str | Path | None = None,
) -> pl.DataFrame:
    """Sets of products that look like duplicates, a row per product, sets with contradictions first.

    Columns: `set`, its number; `how` its products are tied: "same photo", "nearly the same photo", and with a `bundle`
    "alike to the model", from that cosine `similarity` of two photos on; `id`, `category`, `title`, the first `photo`,
    and `contradictions`: what the product states in keys in which its set contradicts itself, "neck: V-Neck; ...".
    With `out`, the table is also written, as .csv (cells are escaped for spreadsheets), .parquet, or .html with photos.

    Raises `ConfigError` for another suffix or a similarity outside (0, 1], and the errors of `LabelledPhotos`.
    """
    catalog = Catalog.of(catalog)
    if not 0 < similarity <= 1:
        raise ConfigError(f"--similarity {similarity}: expected a number above 0, at most 1.")
    write = None if out is None else _writer(Path(out))
    found = {SHARED: shared_photos(catalog), NEARLY: nearly_shared_photos(catalog)}
    if bundle is not None:
        found[ALIKE] = alike(ModelBundle.of(bundle), catalog, similarity)
    table = pl.DataFrame(list(_rows(catalog, found)), TABLE, orient="row")
    if write is not None:
        with storing(Path(str(out))):
            write(catalog, table)
    return table


def _rows(catalog: Catalog, found: dict[str, Pairs]) -> Iterator[tuple[Any, ...]]:
    links = [pair for pairs in found.values() for pair in pairs.tolist()]
    root = tie(len(catalog), links)
    members: dict[int, list[int]] = defaultdict(list)
    for row in sorted({row for pair in links for row in pair}):
        members[int(root[row])].append(row)
    how: dict[int, dict[str, None]] = defaultdict(dict)
    for name, pairs in found.items():
        for pair in pairs.tolist():
            how[int(root[pair[0]])][name] = None
    products = {first: [catalog[catalog.ids[row]] for row in rows] for first, rows in members.items()}
    wrong = {first: contradictions(catalog.taxonomy, twins) for first, twins in products.items()}
    order = sorted(members, key=lambda first: (-len(wrong[first]), -len(members[first]), first))
    for number, first in enumerate(order, 1):
        for product in products[first]:
            stated = ((key_label(key), stated_of(product, key)) for key in wrong[first])
            said = "; ".join(f"{label}: {SEPARATOR.join(values) or 'unknown'}" for label, values in stated)
            photo = product.images[0] if product.images else ""
            yield number, ", ".join(how[first]), product.id, product.category, product.title, photo, said


def _writer(out: Path) -> Callable[[Catalog, pl.DataFrame], None]:
    writers: dict[str, Callable[[Catalog, pl.DataFrame], bytes]] = {
        ".csv": lambda _, table: safe_table(table).write_csv().encode(),
        ".parquet": lambda _, table: _parquet(table),
        ".html": lambda catalog, table: page(catalog, table).encode(),
    }
    content = writers.get(out.suffix.lower())
    if content is None:
        raise ConfigError(f"{out} has the suffix '{out.suffix}': expected {', '.join(writers)}.")

    def write(catalog: Catalog, table: pl.DataFrame) -> None:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(out, content(catalog, table))

    return write


def _parquet(table: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    table.write_parquet(content)
    return content.getvalue()
