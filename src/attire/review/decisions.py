"""The decisions of a store that belong to a catalog."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from attire.catalog.store import Catalog
from attire.errors import ConfigError
from attire.review.store.events import REDACTED, STORE, Decision, Store
from attire.spellings import fold
from attire.taxonomy import CATEGORY, Taxonomy

HINT = "If it is the store of another catalog, name the right one with --store."


class Decisions(NamedTuple):
    """Of the products of a catalog: the fields that are `decided`, and those that are open again (`undone`).

    gone: the number of decisions on products that the catalog no longer has.
    """

    decided: dict[tuple[str, str], Decision]
    undone: set[tuple[str, str]]
    gone: int


def open_store(catalog: Path, store: str | Path | None) -> Store:
    """Open an existing store, by default that in the catalog; raises `ConfigError` if there is none."""
    if store is None and not (catalog / STORE).is_file():
        raise ConfigError(
            f"{catalog} was not reviewed yet: it has no {STORE}. If the page used another store, name it with --store."
        )
    return Store(store or catalog / STORE, create=False)


def decisions_on(catalog: Catalog, store: Store) -> Decisions:
    """The decisions of `store`, in the words of today's taxonomy as far as it has them.

    Raises `ConfigError` for products that were never in the catalog.
    """
    held = {field: decision for field, decision in store.held().items() if decision.state != REDACTED}
    missing = {product for product, _ in held} - set(catalog.ids)
    if missing and (unknown := missing - catalog.had(missing)):
        raise ConfigError(
            f"the store has decisions on {len(unknown):,} products that are not in {catalog.path} "
            f"('{min(unknown)}'). {HINT}"
        )
    by_time = sorted(held.values(), key=lambda decision: decision.at)  # the last one counts of keys that became one
    renamed = (_renamed(catalog.taxonomy, decision) for decision in by_time if decision.product not in missing)
    here = {(decision.product, decision.key): decision for decision in renamed}
    return Decisions(
        {field: decision for field, decision in here.items() if decision.decided},
        {field for field, decision in here.items() if not decision.decided},
        sum(decision.decided for (product, _), decision in held.items() if product in missing),
    )


def _renamed(taxonomy: Taxonomy, decision: Decision) -> Decision:
    """The decision with the names that the taxonomy has for its key and values by now; words that it lacks stay."""
    if decision.key == CATEGORY:
        words = taxonomy.category_spellings.words
        return replace(decision, values=tuple(words.get(fold(value), value) for value in decision.values))
    key = taxonomy.key_named(decision.key) or decision.key
    found = ((taxonomy.label_named(key, value) or (key, value)) for value in decision.values)
    return replace(decision, key=key, values=tuple(value for _, value in found))
