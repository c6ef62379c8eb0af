"""What the products that a run learns from teach it: the category, some keys, or nothing at all."""

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

STAGES: tuple[StageName, ...] = ("category", "attributes")


class Taught(NamedTuple):
    """category: whether a product's category can be learned; keys: bool[A], of which keys a value was stated."""

    category: bool
    keys: NDArray[np.bool_]

    def missing(self, taxonomy: Taxonomy) -> list[str]:
        """The keys of which nothing is learned."""
        return [key for key, is_taught in zip(taxonomy.keys, self.keys, strict=True) if not is_taught]

    def remark(self, taxonomy: Taxonomy) -> str | None:
        """What a person should know of keys that are not learned."""
        if not self.keys.any():
            return "no product of the train split states a value of any key, so the category alone is trained"
        if missing := self.missing(taxonomy):
            return f"no product of the train split states {', '.join(missing)}: the bundle will leave them open"
        return None


def taught_by(targets: Targets, taxonomy: Taxonomy, start: ModelBundle | None) -> Taught:
    """What `targets` teach, and what the bundle `start` has learned already; one category alone needs no lesson."""
    keys = (np.asarray(targets.state) == State.KNOWN).any(axis=0)
    category = len(taxonomy.categories) == 1 or bool((np.asarray(targets.category) >= 0).any())
    return Taught(category, keys) if start is None else Taught(True, keys | start.taught)


def stages_to_train(
    catalog: Catalog,
    recipe: Recipe,
    stage: Literal["category", "attributes", "both"],
    taught: Taught,
    start: ModelBundle | None,
) -> list[StageName]:
    """The recipe's stages that `stage` names, less those that `start` has behind it or that nobody's labels teach.

    A recipe with one stage learns categories there: that stage stays, whatever is stated of the keys.

    Raises `CatalogError` where there is nothing to learn from, and `ConfigError` where the recipe has no such stage.
    """
    if not taught.category:
        raise CatalogError(_nothing(catalog, taught))
    stages = [name for name in STAGES if stage in (name, "both") and getattr(recipe, name).epochs]
    if not stages:
        why = "" if start is None else ", for what it starts from knows the categories"
        raise ConfigError(f"recipe {recipe.name} has nothing to train in stage '{stage}'{why}: name another, or none.")
    if "attributes" in stages and not taught.keys.any():
        if stage == "attributes":
            elsewhere = _elsewhere(int((catalog.targets().state == State.KNOWN).sum()), "values")
            raise CatalogError(
                f"{catalog.path}: no product of the train split states a value of any key, so stage 'attributes' has "
                f"nothing to learn from. Train the category alone: --stage category.{elsewhere}"
            )
        return stages[:1]
    return stages


def _nothing(catalog: Catalog, taught: Taught) -> str:
    stated = "its category, which decides the keys that apply" if taught.keys.any() else "a category or a value"
    elsewhere = _elsewhere(len(catalog) - catalog.products["category"].null_count(), "categories")
    return (
        f"{catalog.path}: no product of the train split states {stated}, so there is nothing to learn from. Fill "
        f"cells of the feed and ingest it again.{elsewhere} Without labels, a bundle that was trained on another "
        "catalog can answer (attire predict BUNDLE CATALOG), and people can check its answers (attire review)."
    )


def _elsewhere(stated: int, what: str) -> str:
    """Of labels that lie where nothing is learned from them."""
    return f" Other parts state {stated:,} {what}: split the catalog again with another --seed." if stated else ""
