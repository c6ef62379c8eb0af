"""Labels that a changed taxonomy costs, as messages: words that it retired, and keys that take one value by now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from attire.catalog.row_words import CheckedProduct
from attire.errors import first_few, first_ids, shown
from attire.taxonomy import Taxonomy, key_label

LISTED, EXAMPLES = 10, 3  # words and ids in a message


def of_retired_words(products: Iterable[CheckedProduct], taxonomy: Taxonomy) -> str:
    """How many products state retired words, which are no labels; "" if none does."""
    counts: Counter[tuple[str, str]] = Counter()
    ids = set()
    for product in products:
        for key, words in product.retired.items():
            counts.update([(key, "")] if key in taxonomy.retired_keys else ((key, word) for word in words))
            ids.add(product.id)
    if not counts:
        return ""
    listed = [
        f"{key_label(key)}{f' {shown(word)!r}' if word else ''} ({count:,})"
        for (key, word), count in counts.most_common()
    ]
    return f"retired words are no labels, {_products(len(ids))}: {first_few(listed, LISTED)}"


def of_several_values(fields: Sequence[tuple[str, str]]) -> str:
    """Which products have several values of a key that takes one, from (key, id); "" if there are none."""
    ids: dict[str, list[str]] = {}
    for key, id in fields:
        ids.setdefault(key, []).append(id)
    lines = []
    for key, of in ids.items():
        have = f"{_products(len(of))} in the catalog {'has' if len(of) == 1 else 'have'} several"
        lines.append(
            f"{key} takes one value, and {have}: no label until a feed states one value ({first_ids(of, EXAMPLES)})"
        )
    return "\n".join(lines)


def _products(count: int) -> str:
    return "1 product" if count == 1 else f"{count:,} products"
