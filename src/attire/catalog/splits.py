"""Train, val and test splits of a catalog: groups stay together, and the mix of categories and values is similar.

The splits are stored in the catalog directory as `splits.parquet` (id, split) and `splits.json`, which is written last.

**Products keep their split** when the catalog changes and is split again, so that models and scores of different weeks
can be compared:

- A group with products that were in one split stays there; its new products join them.
- Groups of new products only are dealt, so that the splits get what they lack of their shares and of each label.
- If products of different splits have become one group, it goes to train.
- Products that are gone leave their split. One that comes back later is new.
- If the share of val or test grows, groups move there from train, never from the other one. Shares cannot shrink.

The result depends on the saved splits, the catalog, the shares and the seed, and on nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from attire.catalog.split_changes import SPLIT_NAMES, Changes, allowed_splits, changes_between, earlier_splits
from attire.catalog.store import Catalog
from attire.catalog.stratification import deal, marks_of
from attire.errors import CatalogError, ConfigError, did_you_mean
from attire.files import read_parquet, replace_parquet, replace_text
from attire.records import read_as

TABLE, MANIFEST = "splits.parquet", "splits.json"


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    seed: int
    shares: dict[str, float]
    catalog: str
    digest: str


_FIRST = _Manifest(seed=0, shares={"train": 0.75, "val": 0.25, "test": 0.0}, catalog="", digest="")


@dataclass(frozen=True, slots=True)
class Splits:
    """Sorted product ids of each split; `shares` are the target shares, `digest` the SHA-256 of the assignment.

    `changes` compares with the splits that were saved before; None if there were none, or these were loaded.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    seed: int
    shares: Mapping[str, float]
    digest: str
    changes: Changes | None = field(default=None, compare=False)

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
        saved = _read(catalog)
        if saved is None:
            raise CatalogError(f"{catalog.path} is not split yet; {again}.")
        manifest, split_of = saved
        ids, names = list(split_of), list(split_of.values())
        if manifest.catalog != catalog.digest:
            raise CatalogError(f"{catalog.path} has changed since it was split; {again} again.")
        if manifest.digest != _digest(ids, names):
            raise CatalogError(f"{TABLE} in {catalog.path} does not match {MANIFEST}; {again} again.")
        return _splits(ids, names, manifest.seed, manifest.shares)


def kept_for_test(catalog: Catalog) -> frozenset[str]:
    """Ids of the products in the saved test split, also if the catalog has changed since; raises `CatalogError`."""
    saved = _read(catalog)
    return frozenset(() if saved is None else (id for id, name in saved[1].items() if name == "test"))


def split(
    catalog: Catalog | str | Path,
    val: float | None = None,
    test: float | None = None,
    seed: int | None = None,
    *,
    anew: bool = False,
) -> Splits:
    """Split `catalog` by the shares `val` and `test`, with the remaining products in train, and save the splits.

    Products keep the split that they have in the saved splits of an earlier state of the catalog (see this module);
    `anew` deals all products again. Shares and seed are by default those of the saved splits, or 0.25, 0 and 0. Equal
    catalogs, saved splits, shares and seeds give equal splits. A category or value found in a single group is in train.

    Raises `ConfigError` for invalid shares, and for smaller shares or another seed than those of the saved splits;
    `CatalogError` if the groups are too few or too large to fill each split, or the splits cannot be read or written.
    """
    catalog = Catalog.of(catalog)
    saved = None if anew else _read(catalog)
    manifest, split_of = saved or (_FIRST, {})
    val = manifest.shares["val"] if val is None else val
    test = manifest.shares["test"] if test is None else test
    seed = manifest.seed if seed is None else seed
    if val < 0 or test < 0 or not 0 < val + test < 1 or not 0 <= seed < 2**32:
        raise ConfigError(
            f"cannot split with val={val}, test={test}, seed={seed}: shares must not be negative and must leave "
            "products for train (0 < val + test < 1), and the seed must be in [0, 2^32)."
        )
    shares = {"train": 1 - val - test, "val": val, "test": test}
    before = earlier_splits(catalog.ids, split_of)
    if (before >= 0).any():
        _refuse_other(catalog, manifest, shares, seed)
    groups, group_of_product = np.unique(catalog.products["group"].to_numpy(), return_inverse=True)
    product, mark = np.nonzero(hot := marks_of(catalog))
    marks = np.zeros((len(groups), hot.shape[1]), dtype=bool)
    marks[group_of_product[product], mark] = True
    sizes = np.bincount(group_of_product, minlength=len(groups))
    allowed = allowed_splits(before, group_of_product, shares, manifest.shares)
    target = np.array([shares[name] for name in SPLIT_NAMES])
    after = deal(marks, sizes, allowed, target, seed)[group_of_product]
    empty = [name for i, name in enumerate(SPLIT_NAMES) if shares[name] > 0 and i not in after]
    if empty:
        raise CatalogError(
            f"{len(catalog)} products in {len(groups)} groups (the largest has {sizes.max(initial=0)}) cannot be "
            f"split: {' and '.join(empty)} would be empty. Use other shares, check the groups in the feed, or deal all "
            "products again with --anew."
        )
    splits = _save(catalog, [SPLIT_NAMES[i] for i in after], seed, shares)
    if saved is None:
        return splits
    return replace(splits, changes=changes_between(catalog.ids, before, after, len(split_of)))


def write_splits_of_rest(catalog: Catalog, gone: Collection[str], digest: str, folder: Path) -> None:
    """Write the saved splits of `catalog`, if there are any, without the products `gone` to `folder`.

    The others keep their split. `digest` is that of the catalog without these products. Splits that were not valid
    before stay invalid.
    """
    saved = _read(catalog)
    if saved is None:
        return
    manifest, split_of = saved
    rest = {id: name for id, name in split_of.items() if id not in gone}
    now = {}
    if manifest.digest == _digest([*split_of], [*split_of.values()]):
        now["digest"] = _digest([*rest], [*rest.values()])
    if manifest.catalog == catalog.digest:
        now["catalog"] = digest
    replace_parquet(folder / TABLE, pl.DataFrame({"id": [*rest], "split": [*rest.values()]}))
    replace_text(folder / MANIFEST, manifest.model_copy(update=now).model_dump_json(indent=2))


def _read(catalog: Catalog) -> tuple[_Manifest, dict[str, str]] | None:
    """The saved splits of any state of `catalog`: manifest and split of each id; None if it was never split.

    A kill between the table and the manifest leaves the manifest of the split before, which does not match but still
    has the shares and the seed. Raises `CatalogError` if one of the files cannot be read.
    """
    if not (catalog.path / MANIFEST).exists():
        return None
    try:
        manifest = read_as(catalog.path / MANIFEST, _Manifest)
        table = read_parquet(catalog.path / TABLE)
        split_of = dict(zip(table["id"].to_list(), table["split"].to_list(), strict=True))
        if len(split_of) < len(table) or not set(split_of.values()) <= set(SPLIT_NAMES) == set(manifest.shares):
            raise ValueError("it has a product twice, or an unknown split")
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise CatalogError(
            f"the split of {catalog.path} cannot be read ({error}): copy {MANIFEST} and {TABLE} from a backup, or run "
            f"'attire split {catalog.path} --anew' to deal all products again."
        ) from None
    return manifest, split_of


def _refuse_other(catalog: Catalog, saved: _Manifest, shares: Mapping[str, float], seed: int) -> None:
    """Raise `ConfigError` for options with which products could not keep their split."""
    for name in SPLIT_NAMES[1:]:
        if shares[name] < saved.shares[name]:
            raise ConfigError(
                f"{catalog.path} was split with --{name} {saved.shares[name]:g}, and products keep their split, so "
                f"--{name} {shares[name]:g} is too small. Use at least {saved.shares[name]:g}, or deal all products "
                "again with --anew."
            )
    if seed != saved.seed:
        raise ConfigError(
            f"{catalog.path} was split with --seed {saved.seed}, and products keep their split. Leave out --seed, or "
            "deal all products again with --anew."
        )


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
    train, val, test = (
        tuple(sorted(i for i, name in zip(ids, names, strict=True) if name == split)) for split in SPLIT_NAMES
    )
    return Splits(train, val, test, seed=seed, shares=shares, digest=_digest(ids, names))


def _digest(ids: list[str], names: list[str]) -> str:
    return hashlib.sha256("\n".join(f"{i}\t{n}" for i, n in sorted(zip(ids, names, strict=True))).encode()).hexdigest()
