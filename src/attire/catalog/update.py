"""Update products of a catalog with those of a feed that names only some of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from attire.catalog.row_words import KEY, CheckedProduct, UnknownWord
from attire.taxonomy import CATEGORY


def updated(known: Sequence[CheckedProduct], feed: Sequence[CheckedProduct]) -> list[CheckedProduct]:
    """All products, sorted by id: what the feed states replaces what is `known`, and a blank cell leaves it.

    A word that cannot be resolved, or is retired, is no blank: the feed states something else than is known, so there
    is no label.
    """
    products = {product.id: replace(product, row=None) for product in known}
    for product in feed:
        before = products.get(product.id)
        products[product.id] = product if before is None else _overlaid(before, product)
    return sorted(products.values(), key=lambda product: product.id)


def remaining(unknown: Iterable[UnknownWord], products: Iterable[CheckedProduct]) -> set[UnknownWord]:
    """The words that still stand for a label of `products`, and unknown keys: others were replaced by the feed."""
    words = {product.id: product.unresolved for product in products if product.unresolved}
    return {entry for entry in unknown if entry.key == KEY or entry.word in words.get(entry.id, {}).get(entry.key, ())}


def _overlaid(before: CheckedProduct, product: CheckedProduct) -> CheckedProduct:
    stated = {*product.labels, *product.unresolved, *product.retired, *([CATEGORY] if product.category else [])}
    return replace(
        product,
        group=product.group or before.group,
        category=before.category if CATEGORY not in stated else product.category,
        labels={key: values for key, values in before.labels.items() if key not in stated} | product.labels,
        images=product.images or before.images,
        title=product.title or before.title,
        unresolved={key: words for key, words in before.unresolved.items() if key not in stated} | product.unresolved,
        retired={key: words for key, words in before.retired.items() if key not in stated} | product.retired,
    )
