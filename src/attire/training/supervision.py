"""What can be learned from the labels of the train split: the category, some keys, or nothing."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.config import Recipe
from attire.errors import CatalogError, ConfigError
from attire.labels import State, Targets
from attire.taxonomy import Taxonomy
from attire.training.module import StageName
from attire.word_places import WordPlaces

STAGES: tuple[StageName, ...] = ("category", "attributes")


class Taught(NamedTuple):
    """Whether the category can be learned, and which keys: bool[A], those with a known label."""

    category: bool
    keys: NDArray[np.bool_]

    def missing(self, taxonomy: Taxonomy) -> list[str]:
        """The keys that have no known label."""
        return [key for key, is_taught in zip(taxonomy.keys, self.keys, strict=True) if not is_taught]

    def remark(self, taxonomy: Taxonomy) -> str | None:
        """A message about keys that cannot be learned, if there are any."""
        if not self.keys.any():
            return "no product of the train split has a value for any key, so only the category is trained"
        if missing := self.missing(taxonomy):
            return (
                f"no product of the train split has a label for {', '.join(missing)}: the bundle will leave them open"
            )
        return None


def taught_by(targets: Targets, taxonomy: Taxonomy, init_from: ModelBundle | None) -> Taught:
    """What can be learned from `targets`, plus what `init_from` has learned. A single category needs no labels."""
    keys = (np.asarray(targets.state) == State.KNOWN).any(axis=0)
    category = len(taxonomy.categories) == 1 or bool((np.asarray(targets.category) >= 0).any())
    if init_from is None:
        return Taught(category, keys)
    places = WordPlaces.between(init_from.taxonomy, taxonomy).keys
    keys[places[(places >= 0) & init_from.taught]] = True
    return Taught(True, keys)


def stages_to_train(
    catalog: Catalog,
    recipe: Recipe,
    stage: Literal["category", "attributes", "both"],
    taught: Taught,
    init_from: ModelBundle | None,
) -> list[StageName]:
    """The stages of the recipe that `stage` selects and that have labels; with `init_from`, not the category stage.

    A recipe with a single stage also learns the category in it, so that stage is kept even if no key has a label.

    Raises `CatalogError` if there are no labels, and `ConfigError` if the recipe has no such stage.
    """
    if not taught.category:
        raise CatalogError(_nothing_to_learn(catalog, taught))
    stages = [name for name in STAGES if stage in (name, "both") and getattr(recipe, name).epochs]
    if not stages:
        why = "" if init_from is None else ", because the bundle it starts from was trained on categories already"
        raise ConfigError(
            f"recipe {recipe.name} has nothing to train in stage '{stage}'{why}: choose another --stage, "
            "or leave it out."
        )
    if "attributes" in stages and not taught.keys.any():
        if stage == "attributes":
            hint = _other_splits(int((catalog.targets().state == State.KNOWN).sum()), "values")
            raise CatalogError(
                f"{catalog.path}: no product of the train split has a value for any key, so stage 'attributes' has "
                f"no labels to train on. Train only the category: --stage category.{hint}"
            )
        return stages[:1]
    return stages


def _nothing_to_learn(catalog: Catalog, taught: Taught) -> str:
    label = "a category, which decides the keys that apply" if taught.keys.any() else "a category or a value"
    hint = _other_splits(len(catalog) - catalog.products["category"].null_count(), "categories")
    return (
        f"{catalog.path}: no product of the train split has {label}, so there are no labels to train on. Add "
        f"labels to the feed and ingest it again.{hint} To get labels, predict with a bundle trained on another "
        "catalog (attire predict BUNDLE CATALOG) and let people check the answers (attire review)."
    )


def _other_splits(count: int, labels: str) -> str:
    """A hint about labels in other splits."""
    again = "split the catalog again with --anew and another --seed."
    return f" Other splits have {count:,} {labels}: {again}" if count else ""
