"""Summarise how a catalog was split, for the report."""

from __future__ import annotations

from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict

from attire.catalog.balance import RARE, balance, deviations
from attire.catalog.split_changes import SPLIT_NAMES
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.taxonomy import CATEGORY

FURTHEST = 10  # deviations listed one by one


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitSize(_Frozen):
    """Size of one split. `share` is the requested share of the products."""

    part: str
    share: float
    products: int
    groups: int


class Balance(_Frozen):
    """Balance of one split: by how much its share of each of `count` categories or values deviates from its own share.

    `mean` and `largest` are over the absolute deviations.
    """

    part: str
    kind: Literal["categories", "values"]
    count: int
    mean: float
    largest: float


class Deviation(_Frozen):
    """A split's share of the `count` products of a value or category (key "category"), minus the split's own share."""

    part: str
    key: str
    value: str
    count: int
    share: float
    deviation: float


class Division(_Frozen):
    """How the catalog was split. `balance` and `furthest` leave out rare categories and values."""

    parts: tuple[SplitSize, ...]
    balance: tuple[Balance, ...]
    furthest: tuple[Deviation, ...]


def division(catalog: Catalog, splits: Splits) -> Division:
    """Sizes of the splits, and how evenly categories and values are distributed over them."""
    table = balance(catalog, splits)
    common = table.filter(pl.col("count") >= RARE)
    furthest = common.sort(pl.col("deviation").abs(), descending=True, maintain_order=True).head(FURTHEST)
    return Division(
        parts=tuple(_size(catalog, splits, name) for name in SPLIT_NAMES if getattr(splits, name)),
        balance=tuple(
            Balance(part=name, kind=kind, count=count, mean=mean, largest=largest)
            for name, kind, count, mean, largest in deviations(table).iter_rows()
        ),
        furthest=tuple(
            Deviation(**row)
            for row in furthest.rename({"split": "part"})
            .with_columns(pl.col("key").replace(CATEGORY, "category"))
            .iter_rows(named=True)
        ),
    )


def _size(catalog: Catalog, splits: Splits, name: str) -> SplitSize:
    ids = splits[name]
    groups = catalog.products["group"].gather(catalog.rows_of(ids)).n_unique()
    return SplitSize(part=name, share=splits.shares[name], products=len(ids), groups=groups)
