"""Select the products to evaluate, without those that the bundle learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from attire.bundle import ModelBundle
from attire.catalog.learned_groups import in_learned_groups
from attire.catalog.split_changes import SPLIT_NAMES
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.errors import CatalogError, ConfigError, did_you_mean

ALL, TRAIN = "all", "train"


@dataclass(frozen=True, slots=True)
class Selection:
    """Products to evaluate.

    name: the split (or "all") if the products are exactly those, else "N chosen products". splits: the catalog's
    splits; None if it has none, or if it has changed since it was split. left_out: number of products of this name that
    are not among `ids`, because the bundle learned from their groups. note: what a reader of the figures must know
    about what the bundle learned from.
    """

    ids: tuple[str, ...]
    name: str
    splits: Splits | None
    left_out: int = 0
    note: str | None = None

    @property
    def baseline_ids(self) -> list[str]:
        """Products of train that are not evaluated: the baselines are fitted on them."""
        evaluated = set(self.ids)
        return [id for id in self.splits.train if id not in evaluated] if self.splits else []

    def unseen(self, bundle: ModelBundle, catalog: Catalog) -> Selection:
        """The products that the bundle did not learn from, by their photos and the groups of `catalog`.

        The train split stays whole: whoever asks for it wants to know how well the bundle fits what it learned from. If
        the bundle does not record what it learned from, nothing is left out, and the note says what is known.

        Raises `CatalogError` if none is left.
        """
        if bundle.learned is None:
            return replace(self, note=self._doubt(bundle))
        learned = in_learned_groups(catalog, bundle.learned)[catalog.rows_of(self.ids)]
        count = int(learned.sum())
        if not count:
            return self
        if self.name == TRAIN:
            return replace(self, note=_trained_on(count, len(self.ids)))
        if count == len(self.ids):
            raise CatalogError(
                f"the bundle learned from the groups of all {count:,} products ({self.name}), so none is left to score "
                "it on. Evaluate it on other products; to see how well it fits what it learned from, evaluate it on "
                "the train split."
            )
        ids = tuple(id for id, seen in zip(self.ids, learned.tolist(), strict=True) if not seen)
        note = (
            f"{count:,} of {len(self.ids):,} products are left out, because the bundle learned from them or from other "
            "products of their groups."
        )
        return replace(self, ids=ids, left_out=count, note=note)

    def _doubt(self, bundle: ModelBundle) -> str | None:
        """A warning if a bundle without a record was, or may have been, trained on some of the products."""
        trained_on, doubt = bundle.provenance.get("splits"), None
        if self.splits is None:
            doubt = "The catalog is not split, or has changed since it was split"
        elif trained_on is None:
            doubt = "The bundle does not record what it was trained on"
        elif trained_on != self.splits.digest or "start_splits" in bundle.provenance:
            doubt = "The bundle was trained on another split of the catalog"
        if doubt:
            return (
                f"{doubt}. If the bundle was trained on some of these products, its figures are better than on new "
                "products."
            )
        count = len(set(self.ids) & set(self.splits.train if self.splits else ()))
        return _trained_on(count, len(self.ids)) if count else None


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


def _trained_on(count: int, products: int) -> str:
    return (
        f"The bundle was trained on {count:,} of these {products:,} products, or on others of their groups, so its "
        "figures are better than on new products."
    )


def _read_splits(catalog: Catalog) -> Splits | None:
    try:
        return Splits.load(catalog)
    except CatalogError:
        return None
