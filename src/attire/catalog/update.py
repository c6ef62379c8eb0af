"""Update products of a catalog with those of a feed that names only some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attire.catalog.check import CheckedProduct
from attire.taxonomy import CATEGORY


def updated(known: Sequence[CheckedProduct], feed: Sequence[CheckedProduct]) -> list[CheckedProduct]:
    """All products, sorted by id: what the feed states replaces what is `known`, and a blank cell leaves it.

    A word that cannot be resolved is no blank: the feed states something else than is known, so there is no label.
    """
    products = {product.id: replace(product, row=None) for product in known}
    for product in feed:
        before = products.get(product.id)
        products[product.id] = product if before is None else _overlaid(before, product)
    return sorted(products.values(), key=lambda product: product.id)


def _overlaid(before: CheckedProduct, product: CheckedProduct) -> CheckedProduct:
    labels = {key: values for key, values in before.labels.items() if key not in product.unresolved} | product.labels
    return replace(
        product,
        group=product.group or before.group,
        category=product.category or (None if CATEGORY in product.unresolved else before.category),
        labels=labels,
        images=product.images or before.images,
        title=product.title or before.title,
    )
