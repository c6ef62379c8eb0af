"""Cut a feed into weekly feeds: new products, corrections of earlier mistakes, and removals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

NOT_LABELS = ("id", "group", "category", "image", "title", "brand")


class Week(NamedTuple):
    """What a shop sends in one week.

    new: rows of new products, some with a mistake. corrections: rows of known products in which only the corrected cell
    is stated. removed: ids of known products.
    """

    new: pl.DataFrame
    corrections: pl.DataFrame
    removed: list[str]

    @property
    def feed(self) -> pl.DataFrame:
        """The feed of an update."""
        return pl.concat([self.new, self.corrections])


class Cut(NamedTuple):
    """The weeks, and the feed of all products as it is at the end."""

    weeks: list[Week]
    final: pl.DataFrame


def cut(feed: pl.DataFrame, weeks: int, corrected: float, removed: float, seed: int) -> Cut:
    """Deal the rows of `feed` (text columns, one row a product) over `weeks`.

    From the second week on, a share `corrected` of the known products gets one cell corrected, whose value was that of
    another product of the category until then, and a share `removed` of them is gone.
    """
    rng = np.random.default_rng(seed)
    rows = feed[rng.permutation(len(feed)).tolist()]
    parts = [rows[part.tolist()] for part in np.array_split(np.arange(len(rows)), weeks)]
    live: list[str] = []
    correct: set[str] = set()
    corrections: list[list[str]] = []
    removals: list[list[str]] = []
    for part in parts:
        gone = _draw(rng, live, removed)
        live = [id for id in live if id not in set(gone)]
        fixed = _draw(rng, [id for id in live if id not in correct], corrected, len(live))
        correct |= set(fixed)
        removals.append(gone)
        corrections.append(fixed)
        live += part["id"].to_list()
    mistakes = dict(_mistakes(rows.filter(pl.col("id").is_in(list(correct))), rows, rng))
    known = rows.filter(pl.col("id").is_in(live))
    return Cut(
        [
            Week(_with(part, mistakes), _corrections(rows, fixed, mistakes), gone)
            for part, fixed, gone in zip(parts, corrections, removals, strict=True)
        ],
        known.sort("id"),
    )


def _draw(rng: np.random.Generator, ids: list[str], share: float, of: int | None = None) -> list[str]:
    count = min(len(ids), round(share * (len(ids) if of is None else of)))
    return [ids[i] for i in sorted(rng.choice(len(ids), count, replace=False).tolist())] if count else []


def _mistakes(
    wrong: pl.DataFrame, rows: pl.DataFrame, rng: np.random.Generator
) -> Iterator[tuple[str, tuple[str, str]]]:
    """A wrong cell for each product that has one to get wrong: id -> (column, value)."""
    columns = [name for name in rows.columns if name not in NOT_LABELS]
    pools: dict[tuple[str, str], list[str]] = {}
    for row in wrong.iter_rows(named=True):
        for column in rng.permutation([name for name in columns if row[name]]).tolist():
            place = (row["category"], column)
            if place not in pools:
                same = rows.filter(pl.col("category") == row["category"])[column]
                pools[place] = sorted(set(same.to_list()) - {""})
            if others := [value for value in pools[place] if value != row[column]]:
                yield row["id"], (column, str(rng.choice(others)))
                break


def _with(rows: pl.DataFrame, cells: dict[str, tuple[str, str]]) -> pl.DataFrame:
    """The rows with other values in some cells."""
    changed = [
        row | ({cells[row["id"]][0]: cells[row["id"]][1]} if row["id"] in cells else {})
        for row in rows.iter_rows(named=True)
    ]
    return pl.DataFrame(changed, schema=rows.schema)


def _corrections(rows: pl.DataFrame, ids: list[str], mistakes: dict[str, tuple[str, str]]) -> pl.DataFrame:
    """Rows that state only the id and the right value of a mistaken cell."""
    stated = {row["id"]: row for row in rows.filter(pl.col("id").is_in(ids)).iter_rows(named=True)}
    blank = dict.fromkeys(rows.columns, "")
    cells = [blank | {"id": id, mistakes[id][0]: stated[id][mistakes[id][0]]} for id in ids if id in mistakes]
    return pl.DataFrame(cells, schema=rows.schema)
