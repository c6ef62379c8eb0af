"""The content of a catalog: what the feeds state, what reviewers decided, and what changes from one to another."""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl

from attire.taxonomy import CATEGORY, Taxonomy

PRODUCTS: dict[str, Any] = {
    "id": pl.String,
    "category": pl.String,
    "title": pl.String,
    "group": pl.String,
    "images": pl.List(pl.String),
    "unknown": pl.List(pl.Struct({"key": pl.String, "word": pl.String})),
}
COMPARED = ("category", "title", "group", "images")
LABELS: dict[str, Any] = {"id": pl.String, "key": pl.String, "value": pl.String, "since": pl.Int64}
FIELD = ["id", "key"]
REVIEWED: dict[str, Any] = {
    "id": pl.String,
    "key": pl.String,
    "state": pl.String,
    "values": pl.List(pl.String),
    "reviewer": pl.String,
    "at": pl.Datetime("us", "UTC"),
    "sampled": pl.Boolean,
    "status": pl.String,
    "since": pl.Int64,
}
IN_FORCE, WAITING, OVERRULED = "in force", "waiting", "overruled"


class Content(NamedTuple):
    """Products and labels as the feeds state them, in the words of a taxonomy and sorted by id, and the reviews.

    products: id, category (null if unknown), title, group (as stated, not the group of products that share photos; no
    such column if it is not known what was stated), images (as stated, also unreadable ones), unknown (words that are
    no labels because the taxonomy lacks or retired one of the field, so that they count as soon as it has it).
    labels: id, key, value, since (the number of the version that first stated the label; null if it is older than the
    first version).
    reviewed: a row per field (key, or `CATEGORY`) that a reviewer decided: state (known, unknown or not applicable),
    values, reviewer, at, sampled (the field is in the random sample on which precision is measured), status
    (`IN_FORCE`; `WAITING`: the taxonomy lacks one of the values, so there is no label; `OVERRULED`: a feed stated
    another value with --feed-wins) and since (the number of the version that first had it).
    """

    products: pl.DataFrame
    labels: pl.DataFrame
    reviewed: pl.DataFrame = pl.DataFrame(schema=REVIEWED)

    def in_force(self) -> Content:
        """What the catalog says: the values of reviewers in place of those of the feeds."""
        decided = self.reviewed.filter(pl.col("status") != OVERRULED)
        if decided.is_empty():
            return Content(self.products, self.labels)
        known = decided.filter(pl.col("status") == IN_FORCE, pl.col("state") == "known")
        values = known.filter(pl.col("key") != CATEGORY).select("id", "key", "since", value="values").explode("value")
        others = self.labels.join(decided.select(FIELD), on=FIELD, how="anti", maintain_order="left")
        labels = pl.concat([others, values.select([*LABELS])]).sort("id", maintain_order=True)
        categories = decided.filter(pl.col("key") == CATEGORY).select("id", is_decided=pl.lit(True))
        own = known.filter(pl.col("key") == CATEGORY).select("id", decided=pl.col("values").list.first())
        products = self.products.join(categories, on="id", how="left", maintain_order="left")
        products = products.join(own, on="id", how="left", maintain_order="left")
        category = pl.when("is_decided").then("decided").otherwise("category").alias("category")
        return Content(products.with_columns(category).drop("is_decided", "decided"), labels)

    def with_origins(self, before: Content | None, number: int) -> Content:
        """The same content with the column `since`: that of the same label in `before`, else `number`."""
        if before is None:
            return self._replace(labels=self.labels.with_columns(since=pl.lit(number, pl.Int64)))
        known = before.labels.select("id", "key", "value", "since", known=pl.lit(True))
        joined = self.labels.join(known, on=["id", "key", "value"], how="left", maintain_order="left")
        first = pl.when(pl.col("known").is_null()).then(pl.lit(number, pl.Int64)).otherwise("since")
        return self._replace(labels=joined.select("id", "key", "value", since=first))

    def in_words_of(self, taxonomy: Taxonomy) -> Content:
        """The same content with the labels in the words of another taxonomy, as far as that has them."""
        pairs = self.labels.select("key", "value").unique()
        words = [taxonomy.label_named(key, value) or (key, value) for key, value in pairs.iter_rows()]
        renamed = pairs.with_columns(
            pl.Series("new_key", [key for key, _ in words], pl.String),
            pl.Series("new_value", [value for _, value in words], pl.String),
        )
        labels = self.labels.join(renamed, on=["key", "value"], maintain_order="left")
        merged = labels.group_by("id", key="new_key", value="new_value", maintain_order=True).agg(pl.col("since").min())
        return self._replace(labels=merged)


class Changes(NamedTuple):
    """Sorted product ids, and the number of unchanged products. `changed` ones have other cells than before."""

    added: list[str]
    changed: list[str]
    unchanged: int
    gone: list[str]

    def __str__(self) -> str:
        return (
            f"{len(self.added):,} added, {len(self.changed):,} changed, {self.unchanged:,} unchanged, "
            f"{len(self.gone):,} gone"
        )


def changes(before: Content | None, after: Content) -> Changes:
    """What changes from `before` (None: nothing) to `after`: category, title, group, images and labels count."""
    if before is None:
        return Changes(after.products["id"].sort().to_list(), [], 0, [])
    columns = [name for name in COMPARED if name in before.products.columns]
    old, new = _texts(before, columns), _texts(after, columns)
    both = old.join(new, on="id", suffix="_after")
    changed = both.filter(pl.col("text") != pl.col("text_after"))
    return Changes(
        new.join(old, on="id", how="anti")["id"].sort().to_list(),
        changed["id"].sort().to_list(),
        len(both) - len(changed),
        old.join(new, on="id", how="anti")["id"].sort().to_list(),
    )


def _texts(content: Content, columns: list[str]) -> pl.DataFrame:
    """Columns id, text: the cells of a product, and its labels, as one text."""
    labels = content.labels.sort("key", "value").group_by("id", maintain_order=True)
    pairs = labels.agg(labels=pl.format("{}={}", "key", "value").str.join("\n"))
    cells = content.products.with_columns(pl.col("images").list.join("\n"))
    words = pl.concat_str(pl.col(*columns, "labels").fill_null(""), separator="\n\n")
    return cells.join(pairs, on="id", how="left").select("id", text=words)
