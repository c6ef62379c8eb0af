"""Writes a file that a shop imports, with what the feed states and what was filled."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from attire.catalog.feed_row import Row
from attire.errors import ConfigError
from attire.files import replace_text
from attire.filling.feed_editor import Report, RowEdit, Words
from attire.filling.listings import Listings
from attire.filling.shop_tables import TABLES
from attire.references.mapping import Mapping
from attire.references.reference import Shop
from attire.taxonomy import Taxonomy

SUFFIXES: dict[Shop, tuple[str, ...]] = {"shopify": (".csv",), "google": (".tsv", ".txt")}
SHOPIFY_BYTES = 15_000_000  # the largest file that Shopify imports


def check_suffix(out: Path, shop: Shop) -> None:
    """Raise `ConfigError` if a shop does not import files with the suffix of `out`."""
    if out.suffix.lower() not in SUFFIXES[shop]:
        expected = " or ".join(SUFFIXES[shop])
        raise ConfigError(f"{out}: expected a name that ends in {expected} for --as {shop}.")


class ShopFile:
    """A `FeedEditor` that writes another file than the feed. Its columns are the keys of the taxonomy.

    `unmapped` and `left_out` count products: by own word that the mapping lacks, and by reason.
    """

    def __init__(self, rows: Callable[[], Iterator[Row]], taxonomy: Taxonomy, mapping: Mapping) -> None:
        self.rows, self.shop = rows, mapping.to
        self.listings = Listings(taxonomy, mapping)
        self.left_out: Counter[str] = Counter()

    @property
    def unmapped(self) -> Counter[str]:
        """The number of products of each own word that the mapping lacks."""
        return self.listings.unmapped

    def refusal(self, row: int, column: str, words: Words) -> str:  # noqa: ARG002
        """Nothing is refused here: the limits of the shop apply to its own words."""
        return ""

    def write(self, edits: Iterable[RowEdit], report: Report, out: Path) -> None:  # noqa: ARG002
        """Write the products to `out`."""
        table = TABLES[self.shop](self.listings.of(self.rows(), dict(edits)))
        self.left_out = table.left_out
        text = io.StringIO(newline="")
        delimiter = "," if self.shop == "shopify" else "\t"
        columns = table.used_columns() or table.columns[:1]
        writer = csv.DictWriter(text, columns, "", "ignore", delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.rows)
        content = text.getvalue()
        if self.shop == "shopify" and len(content.encode()) > SHOPIFY_BYTES:
            self.left_out["the file is larger than the 15 MB that Shopify imports: divide it"] += len(table.rows)
        replace_text(out, content)
