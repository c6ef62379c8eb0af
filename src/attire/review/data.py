"""What there is to review: predictions in the long format beside the labels that the feed states."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from attire.catalog.store import Catalog
from attire.errors import FeedError, TaxonomyError, did_you_mean
from attire.files import file_sha256, read_json, read_ndjson, read_parquet
from attire.labels import contradicts
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
ALTERNATIVES = pl.List(pl.Struct({"value": pl.String, "confidence": pl.Float64}))
NOT_APPLICABLE = "not applicable"
AGAIN = "Predict again with `attire predict CATALOG --format long`."


class ReviewData:
    """Predictions of a catalog's products, field by field; a field is one (product, key), or a product's category.

    `fields` has a row per field that the model answered or abstained from: product, key, category (the stated one,
    else the predicted one), answer (values joined by `SEPARATOR`, null where abstained), confidence (of the answer, or
    of the likeliest alternative), alternatives, stated (as `answer`), contradicts (the answer the stated values, see
    `attire.labels.contradicts`), suspect (contradicted, and the model is sure).
    `digest` names the file that was read, `precision` is what its answers were filled for, where that is known.
    """

    def __init__(self, catalog: Catalog, predictions: Path) -> None:
        """Raises `FeedError` where the file is not what `attire predict --format long` writes for this catalog."""
        self.catalog = catalog
        rows = _read(predictions)
        _check(rows, catalog, predictions)
        self.fields = _fields(rows, catalog)
        self.digest = file_sha256(predictions)
        self.precision = _precision(predictions.with_name(f"{predictions.name}.json"))
        self.said = lru_cache(maxsize=5000)(self._said)

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
        if missing := [name for name in COLUMNS if name not in rows.columns]:
            raise FeedError(f"{path} has no column '{missing[0]}': expected the long format. {AGAIN}")
        typed = rows.select(pl.col(name).cast(type) for name, type in COLUMNS.items())
        return typed.with_columns(pl.col("alternatives").str.json_decode(ALTERNATIVES).fill_null([]))
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).split("\n", 1)[0]
        raise FeedError(f"cannot read the predictions {path}: {reason}. {AGAIN}") from None


def _check(rows: pl.DataFrame, catalog: Catalog, path: Path) -> None:
    """Raise `FeedError` for the first product, word or number that a prediction for this catalog cannot have."""
    keys = catalog.taxonomy.keys
    fix = f"Predict {catalog.path} again, with a bundle that was trained on its words."
    if strangers := set(rows["id"].unique()) - set(catalog.ids):
        raise FeedError(f"{path} has the product '{min(map(str, strangers))}', which is not in {catalog.path}. {fix}")
    if unknown := set(rows["key"].drop_nulls().unique()) - keys.keys():
        raise FeedError(f"{path} has the key '{min(unknown)}', which is not in taxonomy.toml. {fix}")
    several = pl.col("values").str.split(SEPARATOR)
    others = pl.col("alternatives").list.eval(pl.element().struct.field("value"))
    said = pl.concat(rows.select("key", value=values).explode("value").drop_nulls() for values in (several, others))
    words = [*said.unique().iter_rows(), *((None, word) for word in rows["category"].drop_nulls().unique())]
    for key, value in words:
        known = catalog.taxonomy.categories if key is None else keys[key].values
        if value not in known:
            hint = did_you_mean(value, known)
            raise FeedError(f"{path} says {key or 'category'}='{value}', which is not in taxonomy.toml{hint} {fix}")
    takes_one = [name for name, key in keys.items() if key.arity == "one"]
    probable = [
        pl.col("confidence"),
        pl.col("category_confidence"),
        pl.col("alternatives").list.eval(pl.element().struct.field("confidence").fill_null(-1)).list.min(),
        pl.col("alternatives").list.eval(pl.element().struct.field("confidence").fill_null(-1)).list.max(),
    ]
    for wrong, what in (
        (pl.struct("id", "key").is_duplicated(), "stands in two rows"),
        (pl.col("key").is_in(takes_one) & (several.list.len() > 1), "takes one value and has several"),
        (
            ~pl.all_horizontal(share.fill_null(0).is_between(0, 1) for share in probable),
            "has a confidence outside 0..1",
        ),
        (others.list.len() != others.list.drop_nulls().list.len(), "has an alternative without a value"),
    ):
        if len(found := rows.filter(wrong)):
            product, key = found.select("id", "key").row(0)
            raise FeedError(f"{path}: {key or 'the category'} of product '{product}' {what}. {AGAIN}")


def _precision(about: Path) -> float | None:
    """The precision that `attire predict` noted beside its output; None where nothing was noted."""
    try:
        noted = read_json(about).get("precision")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise FeedError(f"{about} cannot be read ({error}): it says how the predictions were made. {AGAIN}") from None
    if noted is not None and not (isinstance(noted, float | int) and 0 < noted <= 1):
        raise FeedError(f"{about}: precision is {noted!r}, expected a number between 0 and 1. {AGAIN}")
    return noted


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
        alternatives=pl.lit([], ALTERNATIVES),
        reason=pl.lit(None, pl.String),
    )
    of_keys = answered.filter(pl.col("key").is_not_null() & pl.col("reason").ne_missing(NOT_APPLICABLE))
    fields = (
        pl.concat([of_category, of_keys.select(of_category.columns)])
        .join(stated, on=["product", "key"], how="left")
        .join(order, on="product")
        .join(categories, on="product")
    )
    likeliest = pl.col("alternatives").list.first().struct.field("confidence").cast(pl.Float32)
    against = [
        answer is not None and stated is not None and contradicts(answer.split(SEPARATOR), stated.split(SEPARATOR))
        for answer, stated in fields.select("answer", "stated").iter_rows()
    ]
    return (
        fields.with_columns(
            category=pl.coalesce("stated_category", "category"),
            confidence=pl.coalesce("confidence", likeliest).fill_null(0.0),
            contradicts=pl.Series(against, dtype=pl.Boolean),
        )
        .with_columns(
            suspect=pl.col("contradicts") & ((pl.col("key") != CATEGORY) | (pl.col("confidence") >= SURE_CATEGORY))
        )
        .sort("place", pl.col("key") != CATEGORY, maintain_order=True)
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
    others = tuple(Alternative(**other) for other in row["alternatives"])
    if row["answer"] is None:
        return Abstained(row["reason"] or "", others)
    return Answer(tuple(row["answer"].split(SEPARATOR)), row["confidence"], others)


def values_of(catalog: Catalog, key: str) -> tuple[str, ...]:
    """The values that a field may take; raises `TaxonomyError` for a key that is not there."""
    return catalog.taxonomy.categories if key == CATEGORY else catalog.taxonomy.key(key).values


def ordered(catalog: Catalog, key: str, values: Collection[str]) -> tuple[str, ...]:
    """The values as the taxonomy orders them, each once, so that the same values are the same wherever they come from.

    Raises `TaxonomyError` unless the field may hold them together.
    """
    known = values_of(catalog, key)
    if unknown := [value for value in values if value not in known]:
        raise TaxonomyError(f"{key}='{unknown[0]}' is not in taxonomy.toml{did_you_mean(unknown[0], known)}")
    found = tuple(value for value in known if value in values)
    if len(found) > 1 and not takes_many(catalog, key):
        raise TaxonomyError(f"{key} takes one value, got {len(found)}: {', '.join(found)}.")
    return found


def takes_many(catalog: Catalog, key: str) -> bool:
    """Whether a field may hold several values."""
    return key != CATEGORY and catalog.taxonomy.keys[key].arity == "many"
