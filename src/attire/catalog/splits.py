"""Train, val and test splits of a catalog: groups stay together, and the mix of categories and values is similar.

The splits are stored in the catalog directory as `splits.parquet` (id, split) and `splits.json`, which is written last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from iterstrat.ml_stratifiers import IterativeStratification
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from attire.catalog.store import Catalog
from attire.errors import CatalogError, ConfigError, did_you_mean
from attire.files import read_parquet, replace_parquet, replace_text
from attire.progress import tracking
from attire.records import read_as
from attire.taxonomy import CATEGORY, Taxonomy

SPLIT_NAMES = ("train", "val", "test")
TABLE, MANIFEST = "splits.parquet", "splits.json"
RARE = 20  # with fewer products than this, a deviation is mostly rounding


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    seed: int
    shares: dict[str, float]
    catalog: str
    digest: str


@dataclass(frozen=True, slots=True)
class Splits:
    """Sorted product ids of each split; `shares` are the target shares, `digest` the SHA-256 of the assignment."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    seed: int
    shares: Mapping[str, float]
    digest: str

    def __getitem__(self, name: str) -> tuple[str, ...]:
        """The ids of one split; raises `CatalogError` if the split does not exist or is empty."""
        if name not in SPLIT_NAMES:
            raise CatalogError(
                f"'{name}' is not one of the splits {', '.join(SPLIT_NAMES)}{did_you_mean(name, SPLIT_NAMES)}"
            )
        ids: tuple[str, ...] = getattr(self, name)
        if not ids:
            raise CatalogError(f"the {name} split is empty; run 'attire split' with --{name} above 0.")
        return ids

    @classmethod
    def of(cls, splits: Splits | str | Path | None, catalog: Catalog) -> Splits:
        """`splits` itself, or the saved splits of the catalog at that path; None means those of `catalog`."""
        if splits is None or isinstance(splits, str | Path):
            return cls.load(catalog if splits is None else splits)
        return splits

    @classmethod
    def load(cls, catalog: Catalog | str | Path) -> Splits:
        """Read the saved splits of `catalog`; raises `CatalogError` if there are none or the catalog has changed."""
        catalog = Catalog.of(catalog)
        again = f"run 'attire split {catalog.path}'"
        try:
            manifest = read_as(catalog.path / MANIFEST, _Manifest)
            table = read_parquet(catalog.path / TABLE)
            ids, names = table["id"].to_list(), table["split"].to_list()
        except FileNotFoundError:
            raise CatalogError(f"{catalog.path} is not split yet; {again}.") from None
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            raise CatalogError(f"the split of {catalog.path} cannot be read ({error}); {again} again.") from None
        if manifest.catalog != catalog.digest:
            raise CatalogError(f"{catalog.path} has changed since it was split; {again} again.")
        if manifest.digest != _digest(ids, names):
            raise CatalogError(f"{TABLE} in {catalog.path} does not match {MANIFEST}; {again} again.")
        return _splits(ids, names, manifest.seed, manifest.shares)


def split(catalog: Catalog | str | Path, val: float = 0.25, test: float = 0.0, seed: int = 0) -> Splits:
    """Split `catalog` by the shares `val` and `test`, with the remaining products in train, and save the splits.

    Equal catalogs, shares and seeds give equal splits. A category or value found in one or two groups stays in train.
    Raises `ConfigError` for invalid shares, and `CatalogError` if the groups are too few or too large to fill each
    split, or the splits cannot be written.
    """
    catalog = Catalog.of(catalog)
    if val < 0 or test < 0 or not 0 < val + test < 1 or not 0 <= seed < 2**32:
        raise ConfigError(
            f"cannot split with val={val}, test={test}, seed={seed}: shares must not be negative and must leave "
            "products for train (0 < val + test < 1), and the seed must be in [0, 2^32)."
        )
    shares = {"train": 1 - val - test, "val": val, "test": test}
    groups, group_of_product = np.unique(catalog.products["group"].to_numpy(), return_inverse=True)
    product, mark = np.nonzero(_marks(catalog))
    marks = np.zeros((len(groups), len(_names(catalog.taxonomy))), dtype=bool)
    marks[group_of_product[product], mark] = True
    sizes = np.bincount(group_of_product, minlength=len(groups))
    assignment = _assign(marks, sizes, np.array([shares[name] for name in SPLIT_NAMES]), seed)[group_of_product]
    empty = [name for i, name in enumerate(SPLIT_NAMES) if shares[name] > 0 and i not in assignment]
    if empty:
        raise CatalogError(
            f"{len(catalog)} products in {len(groups)} groups (the largest has {sizes.max(initial=0)}) cannot be "
            f"split: {' and '.join(empty)} would be empty. Use other shares, or check the groups in the feed."
        )
    return _save(catalog, [SPLIT_NAMES[i] for i in assignment], seed, shares)


def balance(catalog: Catalog, splits: Splits) -> pl.DataFrame:
    """How far each split is from its target share: a row per split (except train) and category or value.

    Columns: split, key (`CATEGORY` for categories), value, count (products in the whole catalog), share (of those
    products in this split), deviation (share minus the split's target share).
    """
    marks, names = _marks(catalog), _names(catalog.taxonomy)
    count = marks.sum(axis=0)
    tables = []
    for name in SPLIT_NAMES[1:]:
        if getattr(splits, name):
            share = marks[catalog.rows_of(splits[name])].sum(axis=0) / np.maximum(count, 1)
            columns = {"count": count, "share": share, "deviation": share - splits.shares[name]}
            tables.append(
                pl.DataFrame(names, schema=["key", "value"], orient="row").with_columns(
                    pl.lit(name).alias("split"), **{column: pl.Series(cells) for column, cells in columns.items()}
                )
            )
    return pl.concat(tables).filter(pl.col("count") > 0).select("split", "key", "value", "count", "share", "deviation")


def deviations(table: pl.DataFrame) -> pl.DataFrame:
    """A summary of `balance`: per split, for categories and for values with at least `RARE` products, their number and
    their mean and largest absolute deviation (`things`, `mean`, `largest`)."""
    kind = pl.when(pl.col("key") == CATEGORY).then(pl.lit("categories")).otherwise(pl.lit("values"))
    deviation = pl.col("deviation").abs()
    return (
        table.filter(pl.col("count") >= RARE)
        .group_by("split", kind.alias("kind"), maintain_order=True)
        .agg(pl.len().alias("things"), deviation.mean().alias("mean"), deviation.max().alias("largest"))
    )


def _names(taxonomy: Taxonomy) -> list[tuple[str, str]]:
    return [*((CATEGORY, c) for c in taxonomy.categories), *taxonomy.column_index]


def _marks(catalog: Catalog) -> NDArray[np.bool_]:
    """bool[N, C + K]: each product's category and stated values, which the splits should share evenly."""
    targets = catalog.targets()
    category = targets.category[:, None] == np.arange(len(catalog.taxonomy.categories))
    return np.concatenate([category, targets.hot], axis=1)


def _assign(
    marks: NDArray[np.bool_], sizes: NDArray[np.int64], shares: NDArray[np.float64], seed: int
) -> NDArray[np.int64]:
    """int64[G]: the split of each group. marks: bool[G, M]; sizes: int64[G], in products; shares: float64[splits].

    Iterative stratification (Sechidis et al., 2011) counts groups, not products. So groups that would fill a tenth of a
    split are placed first, each where most room is left, and the sizes of the others are added to their marks.
    About 45 s for a million groups.
    """
    rng = np.random.RandomState(seed)
    used = np.flatnonzero(shares)
    room = shares[used] * sizes.sum()
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    large = np.count_nonzero(sizes > max(1, 0.1 * room.min()))
    assignment = np.zeros(len(sizes), dtype=np.int64)
    for group in order[:large]:
        assignment[group] = room.argmax()
        room[assignment[group]] -= sizes[group]
    small = order[large:]
    room = room.clip(min=0)
    if len(small):
        size_marks = sizes[small, None] >= 2 ** np.arange(1, int(sizes[small].max()).bit_length())
        with tracking("splitting"):
            assignment[small] = IterativeStratification(np.hstack([marks[small], size_marks]), room / room.sum(), rng)
    return used[assignment]


def _save(catalog: Catalog, names: list[str], seed: int, shares: Mapping[str, float]) -> Splits:
    splits = _splits(catalog.ids, names, seed, shares)
    manifest = _Manifest(seed=seed, shares=dict(shares), catalog=catalog.digest, digest=splits.digest)
    try:  # a kill between the two is detected, because the manifest contains the table's digest
        replace_parquet(catalog.path / TABLE, pl.DataFrame({"id": catalog.ids, "split": names}))
        replace_text(catalog.path / MANIFEST, manifest.model_dump_json(indent=2))
    except OSError as error:
        raise CatalogError(
            f"cannot write the split of {catalog.path}: {error.strerror or error}. Free space, and split again."
        ) from error
    return splits


def _splits(ids: list[str], names: list[str], seed: int, shares: Mapping[str, float]) -> Splits:
    ids_of = {
        split: tuple(sorted(i for i, name in zip(ids, names, strict=True) if name == split)) for split in SPLIT_NAMES
    }
    return Splits(**ids_of, seed=seed, shares=shares, digest=_digest(ids, names))


def _digest(ids: list[str], names: list[str]) -> str:
    return hashlib.sha256("\n".join(f"{i}\t{n}" for i, n in sorted(zip(ids, names, strict=True))).encode()).hexdigest()
