from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from attire.catalog.balance import balance, deviations
from attire.catalog.splits import MANIFEST, TABLE, Splits, split
from attire.catalog.store import Catalog
from attire.errors import CatalogError, ConfigError
from attire.labels import Targets, encode
from attire.taxonomy import CATEGORY, Key, Taxonomy

TAXONOMY = Taxonomy(
    categories=("Shirts", "Jeans"),
    keys={
        "colour": Key(categories=("Shirts", "Jeans"), values=("Red", "Blue", "Teal")),
        "neck": Key(categories=("Shirts",), values=("Round", "Polo")),
    },
)


@dataclass
class FakeCatalog:
    """The attributes of `Catalog` that splitting uses."""

    path: Path
    ids: list[str]
    groups: list[str]
    categories: list[str | None]
    labels: list[dict[str, tuple[str, ...]]]
    digest: str = "one"
    taxonomy: Taxonomy = field(default=TAXONOMY)

    @property
    def products(self) -> pl.DataFrame:
        return pl.DataFrame({"id": self.ids, "group": self.groups})

    def targets(self) -> Targets:
        return encode(self.taxonomy, self.categories, self.labels)

    def rows_of(self, ids: Sequence[str]) -> NDArray[np.int64]:
        return np.array([self.ids.index(i) for i in ids], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ids)


def _catalog(path: Path, sizes: Sequence[int], seed: int = 0) -> Catalog:
    """A catalog with groups of the given sizes; a tenth of the products are jeans, few are teal."""
    rng = np.random.default_rng(seed)
    groups = [f"g{g:04}" for g, size in enumerate(sizes) for _ in range(size)]
    n = len(groups)
    categories: list[str | None] = ["Jeans" if rng.random() < 0.1 else "Shirts" for _ in range(n)]
    labels: list[dict[str, tuple[str, ...]]] = [
        {
            key: (str(rng.choice(values, p=p)),)
            for key, values, p in (
                ("colour", ["Red", "Blue", "Teal"], [0.6, 0.37, 0.03]),
                ("neck", ["Round", "Polo"], [0.8, 0.2]),
            )
            if rng.random() < 0.6
        }
        for _ in range(n)
    ]
    return cast(Catalog, FakeCatalog(path, [f"p{i:05}" for i in range(n)], groups, categories, labels))


def test_splits_are_disjoint_complete_and_keep_groups_together(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path, [1, 2, 3, 4] * 100)
    splits = split(catalog, val=0.25, test=0.15, seed=3)
    assert sorted([*splits.train, *splits.val, *splits.test]) == catalog.ids
    group_of = dict(zip(catalog.ids, catalog.products["group"], strict=True))
    groups = [{group_of[i] for i in ids} for ids in (splits.train, splits.val, splits.test)]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 400
    assert len(splits.val) / 1000 == pytest.approx(0.25, abs=0.02)
    assert len(splits.test) / 1000 == pytest.approx(0.15, abs=0.02)


def test_categories_and_values_have_the_same_share_in_each_split(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path, [1] * 2000)
    table = balance(catalog, split(catalog, val=0.25, seed=1))
    assert set(zip(table["key"], table["value"], strict=True)) == {
        (CATEGORY, "Shirts"),
        (CATEGORY, "Jeans"),
        *TAXONOMY.column_index,
    }
    hot = catalog.targets().hot
    np.testing.assert_array_equal(table.filter(pl.col("key") != CATEGORY)["count"].to_numpy(), hot.sum(axis=0))
    largest = np.abs(table["deviation"].to_numpy()).max()
    assert largest < 0.02  # a random split deviates by about 0.06 on teal
    summary = deviations(table)
    assert summary["kind"].to_list() == ["categories", "values"]
    assert summary["largest"].max() == largest


@pytest.mark.parametrize("sizes", [[1700, *[1, 2, 3] * 900], [300] * 4 + [1] * 1000, [40] * 30, [50, 20, *[1] * 30]])
def test_val_has_its_share_of_products_even_with_large_groups(tmp_path: Path, sizes: list[int]) -> None:
    splits = split(_catalog(tmp_path, sizes), val=0.25)
    assert len(splits.val) / sum(sizes) == pytest.approx(0.25, abs=0.03)


def test_equal_seeds_give_equal_splits_whatever_the_order_of_rows(tmp_path: Path) -> None:
    catalog = cast(FakeCatalog, _catalog(tmp_path, [1, 2] * 100))
    first = split(cast(Catalog, catalog), seed=7)
    order = np.random.default_rng(0).permutation(len(catalog))
    shuffled = replace(
        catalog,
        ids=[catalog.ids[i] for i in order],
        groups=[catalog.groups[i] for i in order],
        categories=[catalog.categories[i] for i in order],
        labels=[catalog.labels[i] for i in order],
    )
    assert split(cast(Catalog, shuffled), seed=7) == first
    assert split(cast(Catalog, catalog), seed=8, anew=True).digest != first.digest


def test_a_value_found_once_stays_in_train(tmp_path: Path) -> None:
    labels: list[dict[str, tuple[str, ...]]] = [{"colour": ("Red",)} for _ in range(40)]
    labels[17] = {"colour": ("Teal",)}
    ids = [f"p{i:02}" for i in range(40)]
    for seed in range(5):
        catalog = cast(Catalog, FakeCatalog(tmp_path, ids, ids, ["Shirts"] * 40, labels))
        assert "p17" in split(catalog, seed=seed, anew=True).train


def test_read_returns_what_split_saved(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path, [1] * 40)
    splits = split(catalog, val=0.2, seed=4)
    assert Splits.load(catalog) == splits
    assert splits["val"] == splits.val
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted([MANIFEST, TABLE])


def test_errors_of_read_say_what_to_do(tmp_path: Path) -> None:
    catalog = cast(FakeCatalog, _catalog(tmp_path, [1] * 40))
    with pytest.raises(CatalogError, match=r"is not split yet; run 'attire split"):
        Splits.load(cast(Catalog, catalog))
    split(cast(Catalog, catalog), seed=1)
    first = (tmp_path / TABLE).read_bytes()
    split(cast(Catalog, catalog), seed=2, anew=True)
    catalog.digest = "two"
    with pytest.raises(CatalogError, match="has changed since it was split"):
        Splits.load(cast(Catalog, catalog))
    catalog.digest = "one"
    (tmp_path / TABLE).write_bytes(first)  # as a kill between the two files would leave it
    with pytest.raises(CatalogError, match=r"does not match splits\.json"):
        Splits.load(cast(Catalog, catalog))
    (tmp_path / TABLE).write_bytes(b"PAR1")
    with pytest.raises(CatalogError, match="cannot be read"):
        Splits.load(cast(Catalog, catalog))
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(CatalogError, match="cannot be read"):
        Splits.load(cast(Catalog, catalog))


def test_impossible_splits_are_refused(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path, [10])
    for val, test, seed in ((0, 0, 0), (1, 0, 0), (0.6, 0.4, 0), (-0.1, 0.3, 0), (0.2, 0, -1)):
        with pytest.raises(ConfigError, match="cannot split with"):
            split(catalog, val=val, test=test, seed=seed)
    with pytest.raises(CatalogError, match=r"1 groups .* val would be empty"):
        split(catalog)
    assert not list(tmp_path.iterdir())


def test_an_unknown_or_empty_split_is_refused(tmp_path: Path) -> None:
    splits = split(_catalog(tmp_path, [1] * 40))
    with pytest.raises(CatalogError, match="did you mean 'val'"):
        splits["vall"]
    with pytest.raises(CatalogError, match="the test split is empty; run 'attire split' with --test above 0"):
        splits["test"]
