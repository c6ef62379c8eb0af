"""Products keep their split while a catalog changes from week to week."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_splits import FakeCatalog

from attire.catalog.balance import balance
from attire.catalog.split_changes import SPLIT_NAMES
from attire.catalog.splits import MANIFEST, TABLE, Splits, split
from attire.catalog.store import Catalog
from attire.errors import CatalogError, ConfigError

Item = tuple[str, str | None, dict[str, tuple[str, ...]]]  # group, category, labels


class Shop:
    """Products that come in groups and go one by one; each product has a category, most have a colour."""

    def __init__(self, seed: int) -> None:
        self.random, self.items, self.groups = np.random.default_rng(seed), dict[str, Item](), 0

    def add(self, groups: int, category: str | None = None, colour: str | None = None) -> None:
        for _ in range(groups):
            self.groups += 1
            for view in range(self.random.choice([1, 1, 1, 2, 4])):
                kind = category or ("Jeans" if self.random.random() < 0.2 else "Shirts")
                hue = colour or str(self.random.choice(["Red", "Blue", "Teal", ""], p=[0.5, 0.25, 0.05, 0.2]))
                labels: dict[str, tuple[str, ...]] = {"colour": (hue,)} if hue else {}
                self.items[f"p{self.groups:05}-{view}"] = (f"g{self.groups}", kind, labels)

    def drop(self, share: float) -> None:
        self.items = {id: item for id, item in self.items.items() if self.random.random() >= share}

    def join(self, *ids: str) -> None:
        """Put the groups of these products into one."""
        groups = {self.items[id][0] for id in ids}
        for id, (group, category, labels) in self.items.items():
            if group in groups:
                self.items[id] = ("joined", category, labels)

    def catalog(self, path: Path) -> Catalog:
        path.mkdir(exist_ok=True)
        ids = sorted(self.items)
        groups, categories, labels = (list(column) for column in zip(*(self.items[id] for id in ids), strict=True))
        digest = str(hash(tuple((id, self.items[id][0]) for id in ids)))
        return cast(Catalog, FakeCatalog(path, ids, groups, categories, labels, digest))


def split_of(splits: Splits) -> dict[str, str]:
    return {id: name for name in SPLIT_NAMES for id in getattr(splits, name)}


def weeks(path: Path, seed: int, val: float, test: float, count: int = 10) -> Iterator[tuple[Catalog, Splits]]:
    """A catalog that grows and shrinks, split each week."""
    shop = Shop(seed)
    shop.add(150)
    for week in range(count):
        if week:
            shop.drop(shop.random.choice([0, 0.02, 0.1]))
            shop.add(int(shop.random.choice([0, 3, 40, 100])))
        catalog = shop.catalog(path)
        yield catalog, split(catalog, *((val, test, seed) if week == 0 else ()))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shares=st.sampled_from([(0.25, 0.0), (0.2, 0.1), (0.5, 0.0)]))
def test_products_keep_their_split_while_a_catalog_grows_and_shrinks(
    tmp_path_factory: pytest.TempPathFactory, seed: int, shares: tuple[float, float]
) -> None:
    path, (val, test) = tmp_path_factory.mktemp("weeks"), shares
    before: dict[str, str] = {}
    for catalog, splits in weeks(path, seed, val, test):
        after = split_of(splits)
        assert sorted(after) == catalog.ids
        assert {id: after[id] for id in before if id in after} == {id: before[id] for id in before if id in after}
        groups = dict(zip(catalog.ids, catalog.products["group"].to_list(), strict=True))
        assert len(set(groups.values())) == len({(groups[id], after[id]) for id in after}), "groups stay together"
        for name, share in (("val", val), ("test", test)):
            assert len(splits[name] if share else ()) / len(after) == pytest.approx(share, abs=0.04)
        if before:
            changes = splits.changes
            assert changes is not None
            assert not changes.moved
            assert changes.kept + changes.new == len(after)
            assert changes.kept + changes.gone == len(before)
        before = after


def test_ten_weeks_are_as_balanced_as_one_split_and_always_the_same(tmp_path: Path) -> None:
    """The mean deviation of categories and values; random splits of these catalogs have 0.04."""
    kept, anew = list[float](), list[float]()
    for seed in range(6):
        *_, (catalog, splits) = weeks(tmp_path / f"{seed}", seed, 0.25, 0.0)
        *_, (_, again) = weeks(tmp_path / f"{seed} again", seed, 0.25, 0.0)
        assert again.digest == splits.digest
        for deviations, dealt in ((kept, splits), (anew, split(catalog, seed=seed, anew=True))):
            table = balance(catalog, dealt).filter(pl.col("count") >= 20)
            deviations.append(float(table["deviation"].abs().to_numpy().mean()))
    assert np.mean(kept) < 0.02
    assert np.mean(kept) < 2 * np.mean(anew)


def test_a_value_that_comes_one_by_one_reaches_val(tmp_path: Path) -> None:
    """Each week's only teal group alone would always go to train."""
    shop = Shop(0)
    shop.add(100, colour="Red")
    for _ in range(24):
        shop.add(1, "Shirts", "Teal")
        splits = split(shop.catalog(tmp_path))
    teal = {id for id, (_, _, labels) in shop.items.items() if labels["colour"] == ("Teal",)}
    groups_in_val = len({id.partition("-")[0] for id in teal & set(splits.val)})
    assert 4 <= groups_in_val <= 8


def test_an_unchanged_catalog_has_an_unchanged_split(tmp_path: Path) -> None:
    shop = Shop(1)
    shop.add(80)
    first = split(shop.catalog(tmp_path), val=0.3, test=0.1, seed=5)
    assert first.changes is None
    again = split(shop.catalog(tmp_path))
    assert again == first
    assert again.changes is not None
    assert (again.changes.kept, again.changes.new, again.changes.gone) == (len(shop.items), 0, 0)
    assert Splits.load(shop.catalog(tmp_path)) == first


def test_variants_of_a_product_join_its_split(tmp_path: Path) -> None:
    shop = Shop(2)
    shop.add(100)
    before = split_of(split(shop.catalog(tmp_path), test=0.1))
    for id in list(shop.items):
        shop.items[f"{id}-new"] = shop.items[id]
    after = split_of(split(shop.catalog(tmp_path)))
    assert after == before | {f"{id}-new": name for id, name in before.items()}


def test_joined_groups_of_two_splits_go_to_train(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop(3)
    shop.add(100)
    first = split(shop.catalog(tmp_path), val=0.25, test=0.15)
    joined = [first.val[0], first.test[0], first.train[0]]
    shop.join(*joined)
    with caplog.at_level(logging.WARNING, "attire"):
        splits = split(shop.catalog(tmp_path))
    group = [id for id, item in shop.items.items() if item[0] == "joined"]
    assert set(group) <= set(splits.train)
    before, after = split_of(first), split_of(splits)
    moved = sorted(id for id in group if before[id] != "train")
    assert sorted(id for id in after if after[id] != before[id]) == moved
    assert splits.changes is not None
    assert sum(splits.changes.moved.values()) == len(moved)
    assert {b for _, b in splits.changes.moved} == {"train"}
    (record,) = caplog.records
    assert f"{len(moved)} products moved from val or test to train" in record.getMessage()
    assert moved[0] in record.getMessage()
    shop.items = {id: (f"alone-{id}", *item[1:]) for id, item in shop.items.items()}
    assert split_of(split(shop.catalog(tmp_path))) == after, "separate groups stay where they were together"


def test_joined_groups_of_one_split_stay_there(tmp_path: Path) -> None:
    shop = Shop(4)
    shop.add(100)
    first = split(shop.catalog(tmp_path))
    shop.join(*first.val[:6])
    assert split(shop.catalog(tmp_path)).digest == first.digest


def test_at_most_five_ids_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop(5)
    shop.add(100)
    first = split(shop.catalog(tmp_path))
    shop.join(first.train[0], *first.val[:12])
    split(shop.catalog(tmp_path))
    assert caplog.text.count(", 'p") == 4
    assert caplog.text.rstrip().endswith(" and 8 more")


@pytest.mark.parametrize("new", [0, 40])
@pytest.mark.parametrize(
    ("options", "grown", "target"),
    [({"test": 0.1}, "test", 0.1), ({"val": 0.4}, "val", 0.4)],
)
def test_a_larger_share_takes_products_from_train(
    tmp_path: Path,
    new: int,
    options: dict[str, float],
    grown: str,
    target: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = Shop(6)
    shop.add(200)
    before = split_of(split(shop.catalog(tmp_path), val=0.25, seed=2))
    shop.add(new)
    splits = split(shop.catalog(tmp_path), **options)  # type: ignore[arg-type]
    after = split_of(splits)
    pairs = {(before[id], after[id]) for id in before}
    assert pairs == {("train", "train"), ("val", "val"), ("train", grown)}
    assert len(splits[grown]) / len(after) == pytest.approx(target, abs=0.02)
    moved = sum(before[id] != after[id] for id in before)
    assert splits.changes is not None
    assert splits.changes.moved == {("train", grown): moved}
    other = "val" if grown == "test" else "test"
    assert f"{moved} products moved from train to {grown} (none from {other})" in caplog.text
    assert split(shop.catalog(tmp_path)) == splits, "the new shares are kept"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val": 0.2}, r"was split with --val 0\.25.*--val 0\.2 is too small.*--anew"),
        ({"test": 0.0}, r"was split with --test 0\.1.*--anew"),
        ({"seed": 8}, r"was split with --seed 7.*--anew"),
    ],
)
def test_options_that_would_move_products_are_refused(tmp_path: Path, options: dict[str, float], message: str) -> None:
    shop = Shop(7)
    shop.add(60)
    first = split(shop.catalog(tmp_path), val=0.25, test=0.1, seed=7)
    with pytest.raises(ConfigError, match=message):
        split(shop.catalog(tmp_path), **options)  # type: ignore[arg-type]
    assert Splits.load(shop.catalog(tmp_path)) == first
    anew = split(shop.catalog(tmp_path), **options, anew=True)  # type: ignore[arg-type]
    assert anew.changes is None
    assert split_of(anew) != split_of(first)


def test_anew_forgets_the_earlier_split(tmp_path: Path) -> None:
    shop = Shop(8)
    shop.add(100)
    split(shop.catalog(tmp_path / "grown"))
    shop.add(100)
    expected = split(shop.catalog(tmp_path / "fresh"))
    assert split(shop.catalog(tmp_path / "grown")).digest != expected.digest
    assert split(shop.catalog(tmp_path / "grown"), anew=True) == expected


def test_another_catalog_in_the_same_folder_is_dealt_as_a_new_one(tmp_path: Path) -> None:
    shop, other = Shop(9), Shop(9)
    shop.add(60)
    split(shop.catalog(tmp_path), val=0.3, seed=1)
    other.groups = 1000
    other.add(60)
    splits = split(other.catalog(tmp_path), val=0.2, seed=2)
    assert splits == split(other.catalog(tmp_path / "alone"), val=0.2, seed=2)
    assert splits.changes is not None
    assert (splits.changes.kept, splits.changes.new) == (0, len(other.items))


def test_products_keep_their_split_after_a_kill_between_the_two_files(tmp_path: Path) -> None:
    shop = Shop(10)
    shop.add(80)
    split(shop.catalog(tmp_path))
    manifest = (tmp_path / MANIFEST).read_bytes()
    shop.add(40)
    expected = split(shop.catalog(tmp_path))
    (tmp_path / MANIFEST).write_bytes(manifest)
    with pytest.raises(CatalogError):
        Splits.load(shop.catalog(tmp_path))
    assert split(shop.catalog(tmp_path)) == expected


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / TABLE).unlink(),
        lambda path: (path / TABLE).write_bytes(b"PAR1"),
        lambda path: (path / MANIFEST).write_text("{"),
        lambda path: (path / MANIFEST).write_text(
            json.dumps(json.loads((path / MANIFEST).read_text()) | {"shares": {}})
        ),
        lambda path: pl.DataFrame({"id": ["a", "a"], "split": ["val", "train"]}).write_parquet(path / TABLE),
        lambda path: pl.DataFrame({"id": ["a"], "split": ["valid"]}).write_parquet(path / TABLE),
        lambda path: pl.DataFrame({"id": ["a"]}).write_parquet(path / TABLE),
    ],
)
def test_a_damaged_split_is_never_replaced_silently(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    shop = Shop(11)
    shop.add(60)
    catalog = shop.catalog(tmp_path)
    first = split(catalog, seed=3)
    damage(tmp_path)
    message = r"cannot be read.*attire split .*--anew"
    with pytest.raises(CatalogError, match=message):
        Splits.load(catalog)
    with pytest.raises(CatalogError, match=message):
        split(catalog)
    assert split(catalog, seed=3, anew=True) == first
