"""Training without labels: a run without any is refused before it starts, keys without any are left open."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from helpers.drawn_feed import draw_feed

from attire.bundle import ModelBundle
from attire.catalog.ingest import ingest
from attire.catalog.splits import Splits, split
from attire.catalog.store import Catalog
from attire.config import load_recipe
from attire.errors import CatalogError, ConfigError
from attire.labels import State, Targets
from attire.taxonomy import Key, Taxonomy
from attire.training.data import hold_out
from attire.training.run import train
from attire.training.supervision import stages_to_train, taught_by

TAXONOMY = Taxonomy(
    categories=("A", "B"),
    keys={"x": Key(categories=("A",), values=("p", "q")), "y": Key(categories=("A", "B"), values=("r",))},
)
RECIPE = load_recipe("base", {"backbone": "test_resnet", "size_px": (32, 24), "amp": "off"})
Row = dict[str, str]


def targets(category: list[int], *states: tuple[State, State]) -> Targets:
    return Targets(np.array(category), np.zeros((len(category), 3), bool), np.array(states, np.int8))


def relabelled(catalog: Catalog, folder: Path, change: Callable[[Row], Row]) -> Catalog:
    """A catalog of a dozen products with the same taxonomy and changed labels."""
    rows = list(csv.DictReader(draw_feed(folder, products=12).open(encoding="utf-8")))
    with (folder / "feed.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(change(row) for row in rows)
    taxonomy = catalog.path / "taxonomy.toml"
    return ingest(folder / "feed.csv", folder / "photos", folder / "catalog", taxonomy=taxonomy)


def test_keys_with_labels_are_taught() -> None:
    unknown, known, ruled_out = State.UNKNOWN, State.KNOWN, State.NOT_APPLICABLE
    taught = taught_by(targets([-1, 1], (unknown, unknown), (ruled_out, known)), TAXONOMY, None)
    assert taught.category
    assert taught.keys.tolist() == [False, True]
    assert taught.missing(TAXONOMY) == ["x"]
    assert taught.remark(TAXONOMY) == "no product of the train split has a label for x: the bundle will leave them open"
    nothing = taught_by(targets([-1], (unknown, unknown)), TAXONOMY, None)
    assert not nothing.category
    assert not nothing.keys.any()
    alone = TAXONOMY.model_copy(update={"categories": ("A",)})
    assert taught_by(targets([-1], (unknown, unknown)), alone, None).category, "a single category needs no labels"


def test_keys_of_the_initial_bundle_need_no_labels(catalog: Catalog, untrained: ModelBundle) -> None:
    nothing = catalog.targets()._replace(category=np.full(len(catalog), -1))
    taught = taught_by(nothing._replace(state=np.zeros_like(nothing.state)), catalog.taxonomy, untrained)
    assert taught.category
    assert taught.keys.all()


BLANKS: dict[str, tuple[Callable[[Row], Row], str, str]] = {
    "no label": (lambda row: row | {"category": "", "colour": "", "tags": ""}, "both", "has a category or a value"),
    "no category": (lambda row: row | {"category": ""}, "both", "has a category, which decides"),
    "no value": (
        lambda row: row | {"colour": "", "tags": ""},
        "attributes",
        "has a value for any key.*Train only the category",
    ),
}


@pytest.mark.parametrize(("change", "stage", "fault"), BLANKS.values(), ids=BLANKS)
def test_a_run_without_labels_is_refused_before_it_starts(
    catalog: Catalog,
    tmp_path: Path,
    change: Callable[[Row], Row],
    stage: Literal["both", "attributes"],
    fault: str,
) -> None:
    blank = relabelled(catalog, tmp_path, change)
    splits = split(blank, val=0.3)
    with pytest.raises(CatalogError, match=f"no product of the train split {fault}"):
        train(blank, splits, recipe=RECIPE, out=tmp_path / "run", stage=stage, weights="none", workers=0)
    assert not (tmp_path / "run").exists()


def test_labels_in_other_splits_are_mentioned(catalog: Catalog, tmp_path: Path) -> None:
    blank = relabelled(
        catalog, tmp_path, lambda row: row if row["id"] < "p004" else row | {"category": "", "colour": "", "tags": ""}
    )
    drawn = split(blank, val=0.3)
    labelled = tuple(blank.ids[:4])
    splits = Splits(tuple(blank.ids[4:]), labelled, (), 0, drawn.shares, drawn.digest)
    with pytest.raises(CatalogError, match="Other splits have 4 categories: split the catalog again"):
        train(blank, splits, recipe=RECIPE, out=tmp_path / "run", weights="none", workers=0)


def test_a_catalog_with_only_categories_trains_the_category(catalog: Catalog) -> None:
    state = np.full((1, 2), State.UNKNOWN, np.int8)
    taught = taught_by(Targets(np.array([0]), np.zeros((1, 3), bool), state), TAXONOMY, None)
    assert stages_to_train(catalog, RECIPE, "both", taught, None) == ["category"]
    one_stage = load_recipe("frozen")
    assert stages_to_train(catalog, one_stage, "both", taught, None) == ["attributes"], (
        "its only stage also trains the category"
    )
    assert taught.remark(TAXONOMY) is not None
    with pytest.raises(ConfigError, match="nothing to train in stage 'category'"):
        stages_to_train(catalog, one_stage, "category", taught, None)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.999])
def test_the_calibration_set_is_never_empty(catalog: Catalog, share: float) -> None:
    train_ids, calibration_ids = hold_out(catalog, catalog.ids[:9], share, seed=0)
    assert train_ids
    assert calibration_ids
    assert sorted(train_ids + calibration_ids) == catalog.ids[:9]
    with pytest.raises(CatalogError, match="a single group of products"):
        hold_out(catalog, catalog.ids[:1], share, seed=0)
    assert hold_out(catalog, catalog.ids[:1], 0, seed=0) == (catalog.ids[:1], [])


def test_an_empty_train_split_is_named(catalog: Catalog, splits: Splits, tmp_path: Path) -> None:
    empty = dataclasses.replace(splits, train=())
    with pytest.raises(CatalogError, match=r"the train split has no product with a readable photo\. Split it again"):
        train(catalog, empty, recipe=RECIPE, out=tmp_path / "run", weights="none", workers=0)
