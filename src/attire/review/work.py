"""What there is to review: predictions in the long format beside the labels that the feed states."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from attire.catalog.store import Catalog
from attire.errors import FeedError, TaxonomyError, did_you_mean
from attire.files import file_sha256, read_ndjson, read_parquet
from attire.prediction import Abstained, Alternative, Answer
from attire.spreadsheets import read_csv
from attire.taxonomy import SEPARATOR

CATEGORY = "@category"  # stands for the category where the name of a key is expected
SURE_CATEGORY = 0.9  # confidence from which a category contradicts the stated one: no threshold was fitted to it
READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".csv": read_csv,
    ".jsonl": lambda path: read_ndjson(path, {"id": pl.String}),
    ".parquet": read_parquet,
}
COLUMNS: dict[str, Any] = {
    "id": pl.String,
    "category": pl.String,
    "category_confidence": pl.Float32,
    "key": pl.String,
    "values": pl.String,
    "confidence": pl.Float32,
    "alternatives": pl.String,
    "reason": pl.String,
}
NOT_APPLICABLE = "not applicable"


class Work:
    """Predictions of a catalog's products, field by field; a field is one (product, key), or a product's category.

    `fields` has a row per field that the model answered or abstained from: product, key, category (the stated one,
    else the predicted one), answer (values joined by `SEPARATOR`, null where abstained), confidence (of the answer, or
    of the likeliest alternative), alternatives (JSON), stated (likewise), suspect (surely answered, stated otherwise).
    `digest` names the file that was read.
    """

    def __init__(self, catalog: Catalog, predictions: Path) -> None:
        """Raises `FeedError` where the file is not what `attire predict --format long` writes for this catalog."""
        self.catalog = catalog
        rows = _read(predictions)
        _check(rows, catalog, predictions)
        self.fields = _fields(rows, catalog)
        self.digest = file_sha256(predictions)
        self.said = lru_cache(maxsize=5000)(self._said)
        about = predictions.with_name(f"{predictions.name}.json")
        self.about: dict[str, Any] = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {}

    @cached_property
    def products(self) -> list[str]:
        """Ids of the products that have predictions, in the catalog's order."""
        return list(self._places)

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        counts = self.fields.group_by("product", maintain_order=True).len("count")
        places, start = {}, 0
        for product, count in counts.iter_rows():
            places[product] = (start, count)
            start += count
        return places

    def _said(self, product: str) -> Mapping[str, Answer | Abstained]:
        """What the model says of a product, by key; empty of one without predictions."""
        start, count = self._places.get(product, (0, 0))
        return {row["key"]: _answer(row) for row in self.fields.slice(start, count).iter_rows(named=True)}


def joined(values: tuple[str, ...] | list[str]) -> str:
    """Several values as one cell."""
    return SEPARATOR.join(values)


def _read(path: Path) -> pl.DataFrame:
    if path.suffix.lower() not in READERS:
        raise FeedError(f"{path}: '{path.suffix}' is not a suffix of predictions. Expected {', '.join(READERS)}.")
    try:
        rows = READERS[path.suffix.lower()](path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise FeedError(f"cannot read the predictions {path}: {error}") from None
    if missing := [name for name in COLUMNS if name not in rows.columns]:
        raise FeedError(
            f"{path} has no column '{missing[0]}': expected what `attire predict CATALOG --format long` writes."
        )
    return rows.select(pl.col(name).cast(type) for name, type in COLUMNS.items())


def _check(rows: pl.DataFrame, catalog: Catalog, path: Path) -> None:
    """Raise `FeedError` for the first product or word that the catalog lacks."""
    mend = f"Predict {catalog.path} again, with a bundle that was trained on its words."
    ids = set(catalog.ids)
    for id in rows["id"].unique().to_list():
        if id not in ids:
            raise FeedError(f"{path} has the product '{id}', which {catalog.path} has not. {mend}")
    said = rows.select("key", pl.col("values").str.split(SEPARATOR)).explode("values").drop_nulls().unique()
    words = [*said.iter_rows(), *((None, word) for word in rows["category"].drop_nulls().unique().to_list())]
    for key, value in words:
        known = (
            catalog.taxonomy.categories
            if key is None
            else catalog.taxonomy.keys[key].values
            if (key in catalog.taxonomy.keys)
            else ()
        )
        if value not in known:
            hint = did_you_mean(value, known)
            raise FeedError(f"{path} says {key or 'category'}='{value}', which is not in taxonomy.toml{hint} {mend}")


def _fields(rows: pl.DataFrame, catalog: Catalog) -> pl.DataFrame:
    stated = _stated(catalog)
    order = pl.DataFrame({"product": catalog.ids}).with_row_index("place")
    categories = catalog.products.select(product="id", stated_category="category")
    answered = rows.filter(pl.col("category").is_not_null()).rename({"id": "product", "values": "answer"})
    of_category = answered.unique("product").select(
        "product",
        "category",
        key=pl.lit(CATEGORY),
        answer="category",
        confidence="category_confidence",
        alternatives=pl.lit("[]"),
        reason=pl.lit(None, pl.String),
    )
    of_keys = answered.filter(pl.col("key").is_not_null() & pl.col("reason").ne_missing(NOT_APPLICABLE))
    fields = (
        pl.concat([of_category, of_keys.select(of_category.columns)])
        .join(stated, on=["product", "key"], how="left")
        .join(order, on="product")
        .join(categories, on="product")
    )
    likeliest = pl.col("alternatives").str.json_path_match("$[0].confidence").cast(pl.Float32)
    return (
        fields.sort("place", pl.col("key") != CATEGORY, maintain_order=True)
        .with_columns(
            category=pl.coalesce("stated_category", "category"),
            confidence=pl.coalesce("confidence", likeliest).fill_null(0.0),
        )
        .with_columns(
            suspect=(pl.col("answer") != pl.col("stated")).fill_null(False)
            & ((pl.col("key") != CATEGORY) | (pl.col("confidence") >= SURE_CATEGORY))
        )
        .drop("place", "stated_category")
    )


def _stated(catalog: Catalog) -> pl.DataFrame:
    """product, key, stated: the feed's labels and categories, values in the taxonomy's order."""
    columns = catalog.taxonomy.column_index
    labels = catalog.labels.with_columns(
        column=pl.Series([columns[pair] for pair in catalog.labels.select("key", "value").iter_rows()], dtype=pl.Int64)
    )
    by_key = labels.sort("column").group_by(product="id", key="key").agg(stated=pl.col("value").str.join(SEPARATOR))
    categories = catalog.products.filter(pl.col("category").is_not_null()).select(
        product="id", key=pl.lit(CATEGORY), stated="category"
    )
    return pl.concat([by_key, categories])


def _answer(row: dict[str, Any]) -> Answer | Abstained:
    others = tuple(Alternative(**other) for other in json.loads(row["alternatives"] or "[]"))
    if row["answer"] is None:
        return Abstained(row["reason"] or "", others)
    return Answer(tuple(row["answer"].split(SEPARATOR)), row["confidence"], others)


def values_of(catalog: Catalog, key: str) -> tuple[str, ...]:
    """The values that a field may take; raises `TaxonomyError` for a key that is not there."""
    return catalog.taxonomy.categories if key == CATEGORY else catalog.taxonomy.key(key).values


def check_values(catalog: Catalog, key: str, values: tuple[str, ...]) -> None:
    """Raise `TaxonomyError` unless the field may hold these values together."""
    known = values_of(catalog, key)
    if unknown := [value for value in values if value not in known]:
        raise TaxonomyError(f"{key}='{unknown[0]}' is not in taxonomy.toml{did_you_mean(unknown[0], known)}")
    if len(values) > 1 and (key == CATEGORY or catalog.taxonomy.keys[key].arity == "one"):
        raise TaxonomyError(f"{key} takes one value, got {len(values)}: {', '.join(values)}.")
