"""The categories that a feed or a catalog states, in a taxonomy's words."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from attire.catalog.check import Problem, summarise
from attire.errors import FeedError, TaxonomyError
from attire.taxonomy import Taxonomy


def known_categories(source: str | Path, said: pl.DataFrame, taxonomy: Taxonomy | None) -> pl.Series:
    """The category of each row's product in the taxonomy's words, as far as rows state one; none without a taxonomy.

    `said` has the columns number, id and category. Raises `FeedError` that names all rows with another word, or with
    another category than an earlier row of their product.
    """
    if taxonomy is None:
        return pl.repeat(None, len(said), dtype=pl.String, eager=True)
    words: dict[str, str] = {}
    faults: dict[str, str] = {}
    for word in filter(None, said["category"].unique()):
        try:
            words[word] = taxonomy.category(word)
        except TaxonomyError as error:
            faults[word] = str(error)
    own = pl.col("category").replace_strict(words, default=None, return_dtype=pl.String)
    stated = said.select("number", "id", "category", own=own).with_columns(
        known=pl.col("own").drop_nulls().first().over("id")
    )
    wrong = stated.filter(pl.col("category").is_in(list(faults))).select("number", "category").iter_rows()
    other = stated.filter(pl.col("own") != pl.col("known")).select("number", "id", "known").iter_rows()
    problems = [Problem(number, faults[word]) for number, word in wrong] + [
        Problem(number, f"id '{id}' is also said to be '{known}'. Mend a row.") for number, id, known in other
    ]
    if problems:
        problems.sort(key=lambda problem: problem.row)
        raise FeedError(
            f"{source}: {len(problems):,} {'problem' if len(problems) == 1 else 'problems'} with its categories; "
            f"nothing was predicted.\n{summarise(problems)}\nMend the feed, or leave out --known-category.",
            [str(problem) for problem in problems],
        )
    if not words:
        raise unstated(source)
    return stated["known"]


def unstated(source: str | Path) -> FeedError:
    """Of a source that states no category at all."""
    return FeedError(f"{source} states no category. Name its column with --category, or leave out --known-category.")
