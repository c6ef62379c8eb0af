"""The page of an audit: a single HTML file with photos, tables and suspects of each kind, which needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from attire.auditing.doubts import NoiseRate
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.catalog.suspects import Kind
from attire.evaluation.gallery import THUMBNAIL_PX
from attire.evaluation.rendering import render
from attire.evaluation.tables import Sheet, number
from attire.photos.data_uri import thumbnail
from attire.taxonomy import SEPARATOR, key_label

SHOWN = {  # suspects with photos
    Kind.WRONG_VALUE: 100,
    Kind.WRONG_CATEGORY: 50,
    Kind.CONTRADICTS_TWIN: 25,
    Kind.MISSING_VALUE: 50,
}
MEANINGS = {
    Kind.WRONG_VALUE: "The photo shows another value.",
    Kind.WRONG_CATEGORY: "The photo shows a product of another category.",
    Kind.CONTRADICTS_TWIN: "Another product with the same or nearly the same photo has another label; this one is the "
    "less likely of the two.",
    Kind.MISSING_VALUE: "The key takes several values, and the photo shows one more.",
}
DEFINITIONS = {
    "score": "probability that the label is wrong, from answers of networks that have not learned the product",
    "labels": "fields with a known label in train and val",
    "suspected": "labels that are likelier wrong than right",
    "noise rate": "share of wrong labels among the products that the model is surest of, a quarter of each value, with "
    "a 95% interval. Ambiguous labels count little in it, but what no photo shows counts as wrong: look at the photos "
    "before you believe it",
}


class Card(NamedTuple):
    """A suspect with photos as data URIs, "" without a readable one; `twin_photo` is that of the other product."""

    id: str
    key: str
    stated: str
    proposed: str
    score: float
    twin: str
    photo: str
    twin_photo: str


def page(
    catalog: Catalog,
    splits: Splits,
    suspects: pl.DataFrame,
    rates: Sequence[NoiseRate],
    products: int,
    decided: int,
) -> str:
    """Render the page. decided: suspects that are left out, because a reviewer has decided them."""
    stray = suspects.filter(kind=Kind.DOES_NOT_APPLY)
    return render(
        "audit.html",
        "attire.auditing",
        title="Suspected wrong labels",
        extent=_extent(catalog, splits, products),
        verdict=_verdict(suspects, rates),
        decided=number(decided) if decided else "",
        rates=_rate_sheet(rates),
        sections=[*_sections(catalog, suspects)],
        stray=_stray_sheet(catalog, stray) if len(stray) else None,
        definitions=DEFINITIONS,
    )


def _extent(catalog: Catalog, splits: Splits, products: int) -> str:
    test = f" The {number(len(splits.test))} products of test were not audited." if splits.test else ""
    return f"{number(products)} products of train and val in {catalog.path.name}.{test}"


def _verdict(suspects: pl.DataFrame, rates: Sequence[NoiseRate]) -> str:
    labels = sum(rate.labels for rate in rates)
    suspected = len(suspects.filter(pl.col("kind") != Kind.DOES_NOT_APPLY))
    if not labels:
        return "There are no labels to audit."
    counted = [rate for rate in rates if rate.anchors]
    mean = sum(rate.labels * rate.rate for rate in counted) / max(1, sum(rate.labels for rate in counted))
    return (
        f"{number(suspected)} of {number(labels)} labels are likelier wrong than right. Of the products that the model "
        f"is surest of, {mean:.1%} have a label that it contradicts."
    )


def _rate_sheet(rates: Sequence[NoiseRate]) -> Sheet:
    rows = (
        (key_label(rate.key), number(rate.labels), number(rate.suspected), *_percents(rate))
        for rate in sorted(rates, key=lambda rate: -rate.suspected)
    )
    return Sheet("Noise by key", ("key", "labels", "suspected", "noise rate", "95% interval"), tuple(rows))


def _percents(rate: NoiseRate) -> tuple[str, str]:
    if np.isnan(rate.rate):
        return "–", "–"
    return f"{rate.rate:.1%}", f"{rate.low:.1%} – {rate.high:.1%}"


def _stray_sheet(catalog: Catalog, stray: pl.DataFrame) -> Sheet:
    """The labels of keys that the category rules out, by key and category."""
    categories = catalog.products.select(product="id", category="category")
    counts = stray.join(categories, on="product").group_by("key", "category").len().sort("len", descending=True)
    rows = tuple((key, category, number(count)) for key, category, count in counts.iter_rows())
    return Sheet("Labels of keys that do not apply", ("key", "category", "labels"), rows, prose=("category",))


def _sections(catalog: Catalog, suspects: pl.DataFrame) -> Iterator[dict[str, object]]:
    for kind, shown in SHOWN.items():
        rows = suspects.filter(kind=kind)
        if len(rows):
            yield {
                "title": f"{kind[0].upper()}{kind[1:]}",
                "anchor": kind.replace(" ", "-"),
                "meaning": MEANINGS[kind],
                "count": number(len(rows)),
                "more": number(len(rows) - shown) if len(rows) > shown else "",
                "cards": [_card(catalog, row) for row in rows.head(shown).iter_rows(named=True)],
            }


def _card(catalog: Catalog, row: dict[str, str | float | None]) -> Card:
    twin = str(row["twin"] or "")
    return Card(
        id=str(row["product"]),
        key=key_label(str(row["key"])),
        stated=_words(row["stated"]),
        proposed=_words(row["proposed"]),
        score=float(row["score"] or 0),
        twin=twin,
        photo=_photo(catalog, str(row["product"])),
        twin_photo=_photo(catalog, twin) if twin else "",
    )


def _words(cell: str | float | None) -> str:
    return str(cell or "").replace(SEPARATOR, ", ")


def _photo(catalog: Catalog, id: str) -> str:
    photos = catalog.photo_paths(catalog.rows_of([id]))[0]
    return thumbnail(photos[0], THUMBNAIL_PX) if photos else ""
