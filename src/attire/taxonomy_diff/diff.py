"""Compare two taxonomies, and say what the change does to a catalog, a bundle and reviews."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attire.catalog.applied_taxonomy import applied_taxonomy, is_bundle, taxonomy_of
from attire.catalog.earlier import Earlier
from attire.catalog.row_words import KEY
from attire.catalog.store import TAXONOMY, read_manifest
from attire.errors import CatalogError, MissingExtraError, TaxonomyError
from attire.taxonomy import CATEGORY, Taxonomy
from attire.taxonomy_diff.effects import (
    BundleEffect,
    DecisionEffect,
    LabelEffect,
    on_bundle,
    on_decisions,
    on_labels,
)
from attire.taxonomy_diff.words import Change, changes

OF_WORDS = ("removed", "renamed", "merged", "split", "retired")  # changes of words that labels may have


@dataclass(frozen=True, slots=True)
class TaxonomyDiff:
    """The changes of words, and their effects on a catalog's labels, a bundle and reviews (None: not asked for).

    `products` are numbers of products of the catalog: by (key, value), ("", category) and (key, "").
    """

    changes: tuple[Change, ...]
    labels: LabelEffect | None
    bundle: BundleEffect | None
    decisions: DecisionEffect | None
    products: Mapping[tuple[str, str], int]

    def affected(self, change: Change) -> int | None:
        """The number of products with the words that change; None if no label has them, or without a catalog."""
        if self.labels is None or change.kind not in OF_WORDS:
            return None
        if change.key == KEY:
            return sum(self.products.get((key, ""), 0) for key in change.before)
        keys = ("",) if change.key == CATEGORY else change.old_keys
        return sum(self.products.get((key, word), 0) for key in keys for word in change.before)


def diff_taxonomy(
    old: str | Path,
    new: str | Path | None = None,
    *,
    catalog: str | Path | None = None,
    bundle: str | Path | None = None,
    store: str | None = None,
) -> TaxonomyDiff:
    """What changes from the taxonomy `old` to `new`, each a taxonomy.toml, a catalog or a bundle.

    A catalog stands for the taxonomy of its last ingest, and without `new` its taxonomy.toml is the new one, as it may
    have been edited since. `catalog`, by default `old` if that is a catalog, is asked for labels and review decisions
    (in the review store `store`), and `bundle` (or `old`) for its columns. Nothing is changed.

    Raises `TaxonomyError`, `CatalogError` or `ReviewStoreError` if one of them cannot be read.
    """
    old = Path(old)
    if catalog is None and old.is_dir() and not is_bundle(old):
        catalog = old
    if bundle is None and is_bundle(old):
        bundle = old
    if new is None:
        if catalog is None:
            raise TaxonomyError(f"there is nothing to compare {old} with: name the new taxonomy as well.")
        new = Path(catalog) / TAXONOMY
    before, after = taxonomy_of(old), taxonomy_of(new)
    products: Counter[tuple[str, str]] = Counter()
    labels = decisions = None
    if catalog is not None:
        labels, products = _on_catalog(Path(catalog), before, after)
        decided = _decisions(Path(catalog), store)
        decisions = None if decided is None else on_decisions(decided, after)
    on = None if bundle is None else on_bundle(taxonomy_of(bundle), after)
    return TaxonomyDiff(tuple(changes(before, after)), labels, on, decisions, products)


def _on_catalog(catalog: Path, old: Taxonomy, new: Taxonomy) -> tuple[LabelEffect, Counter[tuple[str, str]]]:
    """The effect on labels, and the numbers of products that `TaxonomyDiff` has."""
    manifest, earlier = read_manifest(catalog), Earlier.read_whole(catalog)
    if manifest is None or earlier is None:
        raise CatalogError(f"{catalog} holds no finished catalog: expected the --out of an attire ingest.")
    rows = earlier.rows()
    products = Counter(("", row.category) for row in rows if row.category)
    for row in rows:
        products.update((key, value) for key, values in row.labels.items() for value in (*values, ""))
    applied = old if old.digest == manifest.taxonomy else applied_taxonomy(catalog)
    return on_labels(rows, applied, new), products


def _decisions(catalog: Path, store: str | None) -> list[tuple[str, tuple[str, ...]]] | None:
    """The fields that reviewers decided: key and values; None if the catalog was never reviewed."""
    try:
        from attire.review.store.events import STORE, Store
    except ImportError:
        if store is None:
            return None
        raise MissingExtraError("reading review decisions", "review") from None
    if store is None and not (catalog / STORE).is_file():
        return None
    opened = Store(store or catalog / STORE, create=False)
    try:
        return [(decision.key, decision.values) for decision in opened.held().values() if decision.decided]
    finally:
        opened.close()
