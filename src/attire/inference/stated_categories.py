"""The categories in a feed or catalog, in the taxonomy's spelling."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from attire.catalog.check import Problem, summarise
from attire.errors import FeedError, TaxonomyError
from attire.taxonomy import CATEGORY, Taxonomy


def known_categories(source: str | Path, rows: pl.DataFrame, taxonomy: Taxonomy | None) -> pl.Series:
    """The category of each row's product in the taxonomy's spelling, null if unknown, retired or without a
    taxonomy.

    `rows` has the columns number, id and category. Raises `FeedError` naming every row whose category is not in the
    taxonomy or differs from an earlier row of the same product.
    """
    if taxonomy is None:
        return pl.repeat(None, len(rows), dtype=pl.String, eager=True)
    words: dict[str, str] = {}
    faults: dict[str, str] = {}
    for word in filter(None, rows["category"].unique()):
        if taxonomy.is_retired(CATEGORY, word):
            continue
        try:
            words[word] = taxonomy.category(word)
        except TaxonomyError as error:
            faults[word] = str(error)
    stated = pl.col("category").replace_strict(words, default=None, return_dtype=pl.String)
    known = rows.select("number", "id", "category", stated=stated).with_columns(
        known=pl.col("stated").drop_nulls().first().over("id")
    )
    invalid = known.filter(pl.col("category").is_in(list(faults))).select("number", "category").iter_rows()
    contradicting = known.filter(pl.col("stated") != pl.col("known")).select("number", "id", "known").iter_rows()
    problems = [Problem(number, faults[word]) for number, word in invalid] + [
        Problem(number, f"id '{id}' has another category, '{category}', in an earlier row. Fix one of the rows.")
        for number, id, category in contradicting
    ]
    if problems:
        problems.sort(key=lambda problem: problem.row)
        raise FeedError(
            f"{source}: {len(problems):,} {'problem' if len(problems) == 1 else 'problems'} with its categories; "
            f"nothing was predicted.\n{summarise(problems)}\nFix the feed, or leave out --known-category.",
            [str(problem) for problem in problems],
        )
    if not words:
        raise no_category(source)
    return known["known"]


def no_category(source: str | Path) -> FeedError:
    """The error for a source without any category."""
    return FeedError(
        f"{source} has no category for any product. Name its column with --category, or leave out --known-category."
    )
