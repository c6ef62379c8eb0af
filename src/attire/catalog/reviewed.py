"""Decisions of reviewers in a catalog: they outrank what a feed states, and follow the words of the taxonomy."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path

import polars as pl

from attire.catalog.content import FIELD, IN_FORCE, OVERRULED, REVIEWED, WAITING, Content
from attire.catalog.row_words import KEY, CheckedProduct, UnknownWord
from attire.errors import CatalogError, TaxonomyError, listed, shown
from attire.taxonomy import CATEGORY, Taxonomy, key_label

Field = tuple[str, str]  # product id, key or `CATEGORY`
logger = logging.getLogger(__name__)


def with_reviews(
    content: Content,
    before: pl.DataFrame,
    taxonomy: Taxonomy,
    fed: Iterable[CheckedProduct],
    feed: str | Path,
    *,
    feed_wins: bool,
) -> tuple[Content, set[UnknownWord]]:
    """`content` with the reviews `before` of its products, and the words in them that `taxonomy` lacks.

    `fed` are the products as `feed` states them. Where they contradict a review it stays, or with `feed_wins` loses its
    force; the number of these fields is logged.
    """
    kept = before.join(content.products, on="id", how="semi", maintain_order="left")
    reviewed, unknown = in_words_of(taxonomy, kept)
    if fields := contested(reviewed, fed):
        count = f"{len(fields):,} {'field' if len(fields) == 1 else 'fields'}"
        if feed_wins:
            reviewed = overruled(reviewed, fields)
            logger.info("%s: in %s the value of this feed replaces the reviewer's", feed, count)
        else:
            logger.info("%s: %s keep the reviewer's value; --feed-wins takes those of this feed", feed, count)
    return content._replace(reviewed=reviewed), unknown


def in_words_of(taxonomy: Taxonomy, reviewed: pl.DataFrame) -> tuple[pl.DataFrame, set[UnknownWord]]:
    """`reviewed` with its keys and values in the words of `taxonomy`, and the words that it lacks.

    A field with such a word waits, with all its values, until the taxonomy has them. Raises `CatalogError` for several
    values of a key that takes one.
    """
    find = cache(lambda key, word: _find(taxonomy, key, word))
    unknown: set[UnknownWord] = set()
    faults, keys, values, waiting = [], [], [], []
    for id, old_key, words in reviewed.select("id", "key", "values").iter_rows():
        key = taxonomy.key_named(old_key) or old_key
        keys.append(key)
        found = [find(key, word) for word in words]
        missing = [word for word, value in zip(words, found, strict=True) if value is None]
        if missing and key not in taxonomy.keys and key != CATEGORY:
            unknown.add(UnknownWord(KEY, key, id))
        else:
            unknown |= {UnknownWord(key, word, id) for word in missing}
        names = list(dict.fromkeys(value for value in found if value is not None))
        if not missing and len(names) > 1 and (key == CATEGORY or taxonomy.keys[key].arity == "one"):
            faults.append(f"product '{shown(id)}': {key_label(key)} takes one value, decided is '{'|'.join(names)}'")
        values.append(words if missing else names)
        waiting.append(bool(missing))
    if faults:
        raise CatalogError(
            f"{len(faults):,} decisions of reviewers do not fit the taxonomy; nothing was written.\n"
            f"  {listed(faults)}\n"
            'Set arity = "many" in taxonomy.toml, or decide these fields again.'
        )
    is_waiting = pl.Series(waiting, dtype=pl.Boolean)
    status = pl.when(pl.col("status") == OVERRULED).then("status").when(is_waiting).then(pl.lit(WAITING))
    renamed = reviewed.with_columns(
        key=pl.Series(keys, dtype=pl.String),
        values=pl.Series(values, dtype=REVIEWED["values"]),
        status=status.otherwise(pl.lit(IN_FORCE)),
    )
    return renamed.sort("at").unique(FIELD, keep="last").sort(
        FIELD
    ), unknown  # of keys that became one, the last counts


def contested(reviewed: pl.DataFrame, fed: Iterable[CheckedProduct]) -> list[Field]:
    """The fields in force of which the products of a feed state something else than the reviewer decided."""
    products = {product.id: product for product in fed}
    rows = reviewed.filter(pl.col("status") != OVERRULED).select("id", "key", "values")
    return [
        (id, key)
        for id, key, values in rows.iter_rows()
        if id in products and (stated := _stated(products[id], key)) and stated != set(values)
    ]


def overruled(reviewed: pl.DataFrame, fields: Sequence[Field]) -> pl.DataFrame:
    """`reviewed` without force in `fields`, until a reviewer decides them again."""
    chosen = pl.DataFrame(fields, dict.fromkeys(FIELD, pl.String), orient="row").with_columns(chosen=pl.lit(True))
    rows = reviewed.join(chosen, on=FIELD, how="left", maintain_order="left")
    return rows.with_columns(status=pl.when("chosen").then(pl.lit(OVERRULED)).otherwise("status")).drop("chosen")


def decided_anew(before: pl.DataFrame, decisions: pl.DataFrame, undone: Collection[Field], number: int) -> pl.DataFrame:
    """`before`, with the `decisions` of a store (columns as `before`) and without those `undone`.

    A decision that a feed has overruled stays so, and a value that is decided again keeps its version; other decisions
    are of the version `number`.
    """
    dropped = [*decisions.select(FIELD).iter_rows(), *undone]
    fields = pl.DataFrame(dropped, dict.fromkeys(FIELD, pl.String), orient="row")
    others = before.join(fields, on=FIELD, how="anti")
    earlier = before.rename({name: f"{name}_before" for name in REVIEWED if name not in FIELD})
    rows = decisions.join(earlier, on=FIELD, how="left")
    is_same = (pl.col("state") == pl.col("state_before")) & (pl.col("values") == pl.col("values_before"))
    is_overruled = (pl.col("status_before") == OVERRULED) & (pl.col("at") == pl.col("at_before"))
    fresh = rows.with_columns(
        status=pl.when(is_overruled.fill_null(False)).then(pl.lit(OVERRULED)).otherwise("status"),
        since=pl.when(is_same.fill_null(False)).then("since_before").otherwise(pl.lit(number, pl.Int64)),
    )
    return pl.concat([others, fresh.select([*REVIEWED])]).sort(FIELD)


def _find(taxonomy: Taxonomy, key: str, word: str) -> str | None:
    try:
        return taxonomy.category(word, hint=False) if key == CATEGORY else taxonomy.value(key, word, hint=False)
    except TaxonomyError:
        return None


def _stated(product: CheckedProduct, key: str) -> set[str]:
    """What the feed states of a field: values, or words that the taxonomy lacks."""
    if key == CATEGORY and product.category:
        return {product.category}
    return {*product.labels.get(key, ()), *product.unresolved.get(key, ())}
