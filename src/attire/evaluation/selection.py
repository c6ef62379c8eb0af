"""Select the products to evaluate, and detect those that the bundle was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attire.bundle import ModelBundle
from attire.catalog.split_changes import SPLIT_NAMES
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.errors import CatalogError, ConfigError, did_you_mean

ALL = "all"


@dataclass(frozen=True, slots=True)
class Selection:
    """Products to evaluate.

    name: the split (or "all") if the products are exactly those, else "N chosen products". splits: the catalog's
    splits; None if it has none, or if it has changed since it was split.
    """

    ids: tuple[str, ...]
    name: str
    splits: Splits | None

    @property
    def baseline_ids(self) -> list[str]:
        """Products of train that are not evaluated: the baselines are fitted on them."""
        evaluated = set(self.ids)
        return [id for id in self.splits.train if id not in evaluated] if self.splits else []

    def leakage(self, bundle: ModelBundle) -> str | None:
        """A warning if the bundle was, or may have been, trained on some of the products; None if it was not."""
        trained_on, doubt = bundle.provenance.get("splits"), None
        if self.splits is None:
            doubt = "The catalog is not split, or has changed since it was split"
        elif trained_on is None:
            doubt = "The bundle does not record the split that it was trained on"
        elif trained_on != self.splits.digest or "start_splits" in bundle.provenance:
            doubt = "The bundle was trained on another split of the catalog"
        if doubt:
            return (
                f"{doubt}. If the bundle was trained on some of these products, its figures are better than on new "
                "products."
            )
        count = len(set(self.ids) & set(self.splits.train if self.splits else ()))
        if not count:
            return None
        return (
            f"The bundle was trained on {count:,} of these {len(self.ids):,} products (they are in the train split), "
            "so its figures are better than on new products."
        )


def choose(catalog: Catalog, split: str | Sequence[str]) -> Selection:
    """Select the products of a split, of the whole catalog (`"all"`), or with the given ids.

    Raises `CatalogError` for an unknown split or product, `ConfigError` for no ids or a repeated id.
    """
    if isinstance(split, str) and split != ALL:
        if split not in SPLIT_NAMES:
            names = (*SPLIT_NAMES, ALL)
            raise CatalogError(
                f"'{split}' is not a split{did_you_mean(split, names)} Expected one of {', '.join(names)}."
            )
        splits = Splits.load(catalog)
        return Selection(splits[split], split, splits)
    ids = tuple(catalog.ids if isinstance(split, str) else split)
    if not ids:
        raise ConfigError("there are no products to evaluate. Expected the name of a split, or product ids.")
    if len(set(ids)) < len(ids):
        duplicate = next(id for index, id in enumerate(ids) if id in ids[:index])
        raise ConfigError(f"product '{duplicate}' is listed twice. List each product once.")
    stored = _read_splits(catalog)
    candidates = {ALL: tuple(catalog.ids)}
    if stored:
        candidates |= {name: getattr(stored, name) for name in SPLIT_NAMES}
    for name, members in candidates.items():
        if len(members) == len(ids) and set(members) == set(ids):
            return Selection(members, name, stored)
    return Selection(ids, f"{len(ids)} chosen products", stored)


def _read_splits(catalog: Catalog) -> Splits | None:
    try:
        return Splits.load(catalog)
    except CatalogError:
        return None
