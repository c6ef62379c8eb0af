"""Compare a candidate with the present version, on products of a catalog that neither learned from."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.errors import ReportError
from attire.evaluation.evidence import Evidence
from attire.promotion.evaluations import evaluated
from attire.promotion.judgement import Judgement, judge
from attire.score.promise import PRECISION
from attire.spellings import fold

TEST, VAL = "test", "val"
NO_TEST = (
    "The catalog has no test split, so val is used. If models were chosen by their figures on val, these are a little "
    "too good. To set a test split aside: attire split CATALOG --test 0.1"
)


class Compared(NamedTuple):
    """Directories of the reports of the present version and of the candidate, and what their comparison found.

    None for what there is not.
    """

    present: Path | None
    candidate: Path | None
    judgement: Judgement | None


def split_to_use(catalog: Catalog, split: str) -> tuple[str, list[str]]:
    """The split to compare on, which is val where there is no test split, and notes about it."""
    if split == TEST and not Splits.load(catalog).test:
        return VAL, [NO_TEST]
    return split, []


def compared(
    present: ModelBundle | None, candidate: ModelBundle, catalog: Catalog, split: str, folder: Path
) -> Compared:
    """Evaluate the models, unless `folder` has their reports, and compare them. The caller holds the shelf's lock.

    Raises `AttireError` as `evaluate` does, and `ReportError` if no product is new to both.
    """
    before = None if present is None else evaluated(folder, present, catalog, split)
    after = evaluated(folder, candidate, catalog, split)
    if present is None or before is None:
        return Compared(None, after, None)
    evidence = Evidence.load(before), Evidence.load(after)
    common = set(evidence[0].ids) & set(evidence[1].ids)
    if not common:
        raise ReportError(
            f"each product of {split} is in a group that one of them learned from. Set products aside that are new to "
            "both, for example with attire split CATALOG --test 0.1, and train again."
        )
    ids = [id for id in evidence[0].ids if id in common]
    words = [_words(bundle, catalog) for bundle in (present, candidate)]
    keys = [key for key in evidence[0].taxonomy.keys if all((key, "") in known for known in words)]
    judgement = judge(evidence[0].of_products(ids), evidence[1].of_products(ids), keys, PRECISION)
    gone = [": ".join(filter(None, word)) for word in words[0] if word not in words[1]]
    return Compared(before, after, judgement.model_copy(update={"gone": tuple(gone)}))


def _words(bundle: ModelBundle, catalog: Catalog) -> dict[tuple[str, str], None]:
    """The words of the catalog that the bundle can answer with: ("", category), (key, "") and (key, value)."""
    of_catalog, of_bundle = catalog.taxonomy, bundle.taxonomy
    categories = of_catalog.category_spellings.words
    words = [("", categories[fold(word)]) for word in of_bundle.categories if fold(word) in categories]
    for name, key in of_bundle.keys.items():
        if name in of_catalog.keys and name not in bundle.spec.untaught:
            values = of_catalog.keys[name].spellings.words
            words += [(name, ""), *((name, values[fold(value)]) for value in key.values if fold(value) in values)]
    return dict.fromkeys(words)
