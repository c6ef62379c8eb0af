"""What the labels of the train split can teach: the category, some keys, or nothing."""

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
    """category: whether the category can be learned; keys: bool[A], the keys with a known label."""

    category: bool
    keys: NDArray[np.bool_]

    def missing(self, taxonomy: Taxonomy) -> list[str]:
        """The keys without any known label."""
        return [key for key, is_taught in zip(taxonomy.keys, self.keys, strict=True) if not is_taught]

    def remark(self, taxonomy: Taxonomy) -> str | None:
        """A sentence about keys that cannot be learned, if there are any."""
        if not self.keys.any():
            return "no product of the train split states a value of any key, so only the category is trained"
        if missing := self.missing(taxonomy):
            return f"no product of the train split states {', '.join(missing)}: the bundle will leave them open"
        return None


def taught_by(targets: Targets, taxonomy: Taxonomy, init_from: ModelBundle | None) -> Taught:
    """What `targets` teach, together with what the bundle `init_from` has learned; a lone category needs no labels."""
    keys = (np.asarray(targets.state) == State.KNOWN).any(axis=0)
    category = len(taxonomy.categories) == 1 or bool((np.asarray(targets.category) >= 0).any())
    return Taught(category, keys) if init_from is None else Taught(True, keys | init_from.taught)


def stages_to_train(
    catalog: Catalog,
    recipe: Recipe,
    stage: Literal["category", "attributes", "both"],
    taught: Taught,
    init_from: ModelBundle | None,
) -> list[StageName]:
    """The recipe's stages that `stage` names and that there are labels for; `init_from` has the category stage already.

    A recipe with a single stage learns the category there, so that stage stays even if no key has a label.

    Raises `CatalogError` if there is nothing to learn from, and `ConfigError` if the recipe has no such stage.
    """
    if not taught.category:
        raise CatalogError(_nothing_to_learn(catalog, taught))
    stages = [name for name in STAGES if stage in (name, "both") and getattr(recipe, name).epochs]
    if not stages:
        why = "" if init_from is None else ", because the bundle it starts from knows the categories"
        raise ConfigError(
            f"recipe {recipe.name} has nothing to train in stage '{stage}'{why}: choose another one, or none."
        )
    if "attributes" in stages and not taught.keys.any():
        if stage == "attributes":
            hint = _other_splits(int((catalog.targets().state == State.KNOWN).sum()), "values")
            raise CatalogError(
                f"{catalog.path}: no product of the train split states a value of any key, so stage 'attributes' has "
                f"nothing to learn from. Train only the category: --stage category.{hint}"
            )
        return stages[:1]
    return stages


def _nothing_to_learn(catalog: Catalog, taught: Taught) -> str:
    stated = "its category, which decides the keys that apply" if taught.keys.any() else "a category or a value"
    hint = _other_splits(len(catalog) - catalog.products["category"].null_count(), "categories")
    return (
        f"{catalog.path}: no product of the train split states {stated}, so there is nothing to learn from. Fill "
        f"cells of the feed and ingest it again.{hint} Without labels, a bundle that was trained on another "
        "catalog can answer (attire predict BUNDLE CATALOG), and people can check its answers (attire review)."
    )


def _other_splits(stated: int, what: str) -> str:
    """A hint about labels in other splits."""
    return f" Other splits have {stated:,} {what}: split the catalog again with another --seed." if stated else ""
