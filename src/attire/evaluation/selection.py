"""Which products are judged, and which of them the bundle has learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attire.bundle import ModelBundle
from attire.catalog.splits import PARTS, Splits
from attire.catalog.store import Catalog
from attire.errors import CatalogError, ConfigError, did_you_mean

ALL = "all"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Products to judge. `name` is that of a part of the split (or "all") where they are just those products.

    splits: the catalog's split; None where it has none, or one from before it was changed.
    """

    ids: tuple[str, ...]
    name: str
    splits: Splits | None

    @property
    def others(self) -> list[str]:
        """Products of the train part that are not judged: what baselines may learn from."""
        judged = set(self.ids)
        return [id for id in self.splits.train if id not in judged] if self.splits else []

    def learned(self, bundle: ModelBundle) -> str | None:
        """What a reader must know of the products that the bundle has learned from; None where there are none."""
        theirs, doubt = bundle.provenance.get("splits"), None
        if self.splits is None:
            doubt = "The catalog is not split, or was changed since"
        elif theirs is None:
            doubt = "The bundle does not say on which split it was trained"
        elif theirs != self.splits.digest or "start_splits" in bundle.provenance:
            doubt = "The bundle was trained on another split than the catalog has now"
        if doubt:
            return f"{doubt}: if it has learned from some of these products, its figures are better than on new ones."
        learned = len(set(self.ids) & set(self.splits.train if self.splits else ()))
        if not learned:
            return None
        return (
            f"The bundle has learned from {learned:,} of these {len(self.ids):,} products (they are in the train "
            "part), so its figures are better than on new ones."
        )


def choose(catalog: Catalog, split: str | Sequence[str]) -> Chosen:
    """The products of a part of the catalog's split, of all of the catalog (`"all"`), or those of the ids.

    Raises `CatalogError` for a part or product that is not there, `ConfigError` for no ids or one id twice.
    """
    if isinstance(split, str) and split != ALL:
        if split not in PARTS:
            known = (*PARTS, ALL)
            raise CatalogError(f"'{split}' is not one of {', '.join(known)}{did_you_mean(split, known)}")
        splits = Splits.read(catalog)
        return Chosen(splits[split], split, splits)
    ids = tuple(catalog.ids if isinstance(split, str) else split)
    if not ids:
        raise ConfigError("no product to judge: expected the name of a part of the split, or ids of products.")
    if len(set(ids)) < len(ids):
        twice = next(id for place, id in enumerate(ids) if id in ids[:place])
        raise ConfigError(f"product '{twice}' is named twice: it would count twice. Name each product once.")
    saved = _saved(catalog)
    wholes = {ALL: tuple(catalog.ids)} | ({part: getattr(saved, part) for part in PARTS} if saved else {})
    for name, whole in wholes.items():
        if len(whole) == len(ids) and set(whole) == set(ids):
            return Chosen(whole, name, saved)
    return Chosen(ids, f"{len(ids)} chosen products", saved)


def _saved(catalog: Catalog) -> Splits | None:
    try:
        return Splits.read(catalog)
    except CatalogError:
        return None
