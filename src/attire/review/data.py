"""The data to review: predictions in the long format, joined with the labels of the feed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from attire.catalog.store import Catalog
from attire.catalog.suspects import stated_labels
from attire.errors import FeedError, TaxonomyError, did_you_mean
from attire.files import file_sha256, read_json, read_ndjson, read_parquet
from attire.inference.output import ALTERNATIVE, LONG, NOT_APPLICABLE
from attire.labels import contradicts
from attire.prediction import Abstained, Alternative, Answer
from attire.score.decisions import UNSURE
from attire.spreadsheets import read_csv
from attire.taxonomy import CATEGORY, SEPARATOR

READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".csv": read_csv,
    ".jsonl": lambda path: read_ndjson(path, {"id": pl.String}),
    ".parquet": read_parquet,
}
AGAIN = "Predict again with `attire predict BUNDLE CATALOG --format long`."


class ReviewData:
    """The predictions of a catalog's products by field. A field is a pair (product, key), or a product's category.

    Attributes
    ----------
    fields
        A row per field that the model filled or left open, with columns product; key; category (stated, else
        predicted); answer (values joined by `SEPARATOR`, null if left open); confidence (of the answer, else of the
        most likely alternative); alternatives; stated (the feed's label, as `answer`); suspect (whether a filled answer
        contradicts the label, see `attire.labels.contradicts`).
    digest
        SHA-256 of the predictions file.
    precision
        The promised precision at which answers were filled, or None if unknown.
    """

    def __init__(self, catalog: Catalog, predictions: Path) -> None:
        """Raises `FeedError` unless `attire predict --format long` wrote the file for this catalog."""
        self.catalog = catalog
        rows = _read(predictions)
        _check(rows, catalog, predictions)
        self.fields = _fields(rows, catalog)
        self.digest = file_sha256(predictions)
        self.precision = _precision(predictions.with_name(f"{predictions.name}.json"))
        self.answers = lru_cache(maxsize=5000)(self._answers)

    @cached_property
    def products(self) -> list[str]:
        """Ids of the products that have predictions, in the catalog's order."""
        return list(self._slices)

    @cached_property
    def _slices(self) -> dict[str, tuple[int, int]]:
        """The first row and the number of rows in `fields` of each product."""
        counts = self.fields.group_by("product", maintain_order=True).len("count")
        slices, start = {}, 0
        for product, count in counts.iter_rows():
            slices[product] = (start, count)
            start += count
        return slices

    def _answers(self, product: str) -> Mapping[str, Answer | Abstained]:
        """Return the model's answers for a product by key; empty if it has no predictions."""
        start, count = self._slices.get(product, (0, 0))
        return {row["key"]: _answer(row) for row in self.fields.slice(start, count).iter_rows(named=True)}


def joined(values: tuple[str, ...] | list[str]) -> str:
    """Join several values into one cell."""
    return SEPARATOR.join(values)


def _read(path: Path) -> pl.DataFrame:
    if path.suffix.lower() not in READERS:
        raise FeedError(f"{path} has the suffix '{path.suffix}'. Expected predictions as {', '.join(READERS)}.")
    try:
        rows = READERS[path.suffix.lower()](path)
        if missing := [name for name in LONG if name not in rows.columns]:
            raise FeedError(f"{path} has no column '{missing[0]}', so it is not in the long format. {AGAIN}")
        typed = rows.select(pl.col(name).cast(type) for name, type in LONG.items())
        others = pl.col("alternatives", "category_alternatives")
        return typed.with_columns(others.str.json_decode(pl.List(ALTERNATIVE)).fill_null([]))
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).split("\n", 1)[0]
        raise FeedError(f"cannot read the predictions {path}: {reason}. {AGAIN}") from None


def _check(rows: pl.DataFrame, catalog: Catalog, path: Path) -> None:
    """Raise `FeedError` for the first unknown product, key or value, and for rows that are inconsistent."""
    keys = catalog.taxonomy.keys
    fix = f"Predict {catalog.path} again with a bundle that was trained on its taxonomy."
    if unknown_ids := set(rows["id"].unique()) - set(catalog.ids):
        raise FeedError(f"{path} has the product '{min(map(str, unknown_ids))}', which is not in {catalog.path}. {fix}")
    if unknown_keys := set(rows["key"].drop_nulls().unique()) - keys.keys():
        raise FeedError(f"{path} has the key '{min(unknown_keys)}', which is not in taxonomy.toml. {fix}")
    values = pl.col("values").str.split(SEPARATOR)
    others = pl.col("alternatives").list.eval(pl.element().struct.field("value"))
    pairs = pl.concat(rows.select("key", value=column).explode("value").drop_nulls() for column in (values, others))
    categories = pl.concat([rows["category"], rows["category_alternatives"].explode().struct.field("value")])
    words = [*pairs.unique().iter_rows(), *((None, word) for word in categories.drop_nulls().unique())]
    for key, value in words:
        known = catalog.taxonomy.categories if key is None else keys[key].values
        if value not in known:
            hint = did_you_mean(value, known)
            raise FeedError(f"{path} has {key or 'category'}='{value}', which is not in taxonomy.toml{hint} {fix}")
    takes_one = [name for name, key in keys.items() if key.arity == "one"]
    probabilities = [
        pl.col("confidence"),
        pl.col("category_confidence"),
        pl.col("alternatives").list.eval(pl.element().struct.field("confidence").fill_null(-1)).list.min(),
        pl.col("alternatives").list.eval(pl.element().struct.field("confidence").fill_null(-1)).list.max(),
    ]
    for is_wrong, fault in (
        (pl.struct("id", "key").is_duplicated(), "is in two rows"),
        (pl.col("key").is_in(takes_one) & (values.list.len() > 1), "takes one value and has several"),
        (
            ~pl.all_horizontal(share.fill_null(0).is_between(0, 1) for share in probabilities),
            "has a confidence outside 0..1",
        ),
        (others.list.len() != others.list.drop_nulls().list.len(), "has an alternative without a value"),
    ):
        if len(wrong := rows.filter(is_wrong)):
            product, key = wrong.select("id", "key").row(0)
            raise FeedError(f"{path}: {key or 'the category'} of product '{product}' {fault}. {AGAIN}")


def _precision(record: Path) -> float | None:
    """Return the promised precision from the record that `attire predict` writes with its output, or None."""
    try:
        precision = read_json(record).get("precision")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise FeedError(f"cannot read {record}, the record of the predictions: {error}. {AGAIN}") from None
    if precision is not None and not (isinstance(precision, float | int) and 0 < precision <= 1):
        raise FeedError(f"{record}: precision is {precision!r}, expected a number between 0 and 1. {AGAIN}")
    return precision


def _fields(rows: pl.DataFrame, catalog: Catalog) -> pl.DataFrame:
    stated = stated_labels(catalog)
    order = pl.DataFrame({"product": catalog.ids}).with_row_index("place")
    categories = catalog.products.select(product="id", stated_category="category")
    answered = rows.filter(pl.col("key").is_not_null()).rename({"id": "product", "values": "answer"})
    by_product = answered.unique("product")
    likeliest = pl.col("category_alternatives").list.first().struct.field("value")
    category_rows = by_product.select(
        "product",
        "category",
        key=pl.lit(CATEGORY),
        answer="category",
        confidence="category_confidence",
        alternatives="category_alternatives",
        reason=pl.when(pl.col("category").is_null()).then(pl.lit(UNSURE)),
    )
    key_rows = answered.filter(pl.col("reason").ne_missing(NOT_APPLICABLE))
    fields = (
        pl.concat([category_rows, key_rows.select(category_rows.columns)])
        .join(stated, on=["product", "key"], how="left")
        .join(order, on="product")
        .join(categories, on="product")
        .join(by_product.select("product", likeliest_category=likeliest), on="product")
    )
    best_alternative = pl.col("alternatives").list.first().struct.field("confidence").cast(pl.Float32)
    parents = {key: catalog.taxonomy.parents(key) for key in (CATEGORY, *catalog.taxonomy.keys)}
    contradictions = [
        bool(answer and stated) and contradicts(answer.split(SEPARATOR), stated.split(SEPARATOR), parents[key])
        for key, answer, stated in fields.select("key", "answer", "stated").iter_rows()
    ]
    return (
        fields.with_columns(
            category=pl.coalesce("stated_category", "category", "likeliest_category"),
            confidence=pl.coalesce("confidence", best_alternative).fill_null(0.0),
            suspect=pl.Series(contradictions, dtype=pl.Boolean),
        )
        .sort("place", pl.col("key") != CATEGORY, maintain_order=True)
        .drop("place", "stated_category", "likeliest_category")
    )


def _answer(row: dict[str, Any]) -> Answer | Abstained:
    alternatives = tuple(Alternative(**alternative) for alternative in row["alternatives"])
    if row["answer"] is None:
        return Abstained(row["reason"] or "", alternatives)
    return Answer(tuple(row["answer"].split(SEPARATOR)), row["confidence"], alternatives)


def values_of(catalog: Catalog, key: str) -> tuple[str, ...]:
    """Return the values that a field may take; raises `TaxonomyError` for an unknown key."""
    return catalog.taxonomy.categories if key == CATEGORY else catalog.taxonomy.key(key).values


def ordered(catalog: Catalog, key: str, values: Collection[str]) -> tuple[str, ...]:
    """Return the values in the taxonomy's order without duplicates, so that equal sets compare equal.

    Raises `TaxonomyError` for unknown values, and for several values of a key that takes one.
    """
    known = values_of(catalog, key)
    if unknown := [value for value in values if value not in known]:
        raise TaxonomyError(f"{key}='{unknown[0]}' is not in taxonomy.toml{did_you_mean(unknown[0], known)}")
    result = tuple(value for value in known if value in values)
    if len(result) > 1 and not takes_many(catalog, key):
        raise TaxonomyError(f"{key} takes one value, got {len(result)}: {', '.join(result)}.")
    return result


def takes_many(catalog: Catalog, key: str) -> bool:
    """Return whether a field may have several values."""
    return key != CATEGORY and catalog.taxonomy.keys[key].arity == "many"
