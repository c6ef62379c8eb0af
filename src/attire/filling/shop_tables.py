"""The files that shops import: Shopify's product CSV and Google Merchant Center's TSV, within the shops' limits.

Cells are written as they are, without the apostrophe that keeps a spreadsheet from running a formula: the shop would
take it over.

Shopify: https://help.shopify.com/en/manual/products/import-export/using-csv
Google: https://support.google.com/merchants/answer/7052112
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from attire.filling.listings import Listing
from attire.references.metafields import STANDARD, metafield, slug
from attire.references.reference import Shop

HANDLE = re.compile(r"[^\W A-Z]([^\W A-Z]|-)*")  # an id that is kept: it may be the handle that the shop has already
SHOPIFY_TEXT = 255  # characters of a handle and of a title
SHOPIFY_VALUES = "; "
GOOGLE_LENGTHS = {"id": 50, "title": 150, "color": 100, "material": 200, "pattern": 100, "size": 100}  # characters
GOOGLE_COLOR = 40  # characters of one color
GOOGLE_IMAGE = 2000
GOOGLE_SEVERAL = {"color": 3, "material": 3}  # how many values a cell may have, joined by "/"; others have one


@dataclass(slots=True)
class ShopTable:
    """A table to import. `left_out` counts products whose row, or a field of it, is not written, by reason."""

    columns: list[str]
    rows: list[dict[str, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def used_columns(self) -> list[str]:
        """The columns with any content: an empty column would delete what the shop has."""
        return [name for name in self.columns if any(row.get(name) for row in self.rows)]


def shopify_table(listings: Iterable[Listing]) -> ShopTable:
    """A row per product: its handle, title, category as a full path, and metafields."""
    table = ShopTable(["Handle", "Title", "Product Category"])
    ids: dict[str, str] = {}
    for listing in listings:
        handle = listing.id if HANDLE.fullmatch(listing.id) else slug(listing.id)
        fault = _shopify_fault(listing, handle, ids)
        if fault:
            table.left_out[f"products left out: {fault}"] += 1
            continue
        ids[handle] = listing.id
        row = {"Handle": handle, "Title": listing.title}
        if listing.category is not None:
            row["Product Category"] = listing.category.name
        for column, targets in listing.fields.items():
            parts = metafield(column)
            standard = parts is not None and parts.namespace == STANDARD
            row[column] = SHOPIFY_VALUES.join(slug(value.name) if standard else value.name for value in targets)
        table.rows.append(row)
        table.columns += [column for column in listing.fields if column not in table.columns]
    return table


def _shopify_fault(listing: Listing, handle: str, ids: dict[str, str]) -> str:
    """Why Shopify would not import a product, "" if it would."""
    if not handle or len(handle) > SHOPIFY_TEXT:
        return f"the id gives no handle of 1 to {SHOPIFY_TEXT} letters, digits and hyphens"
    if handle in ids:
        return f"the ids '{ids[handle]}' and '{listing.id}' give the same handle"
    if not listing.title:
        return "Shopify requires a title"
    return f"the title has more than {SHOPIFY_TEXT} characters" if len(listing.title) > SHOPIFY_TEXT else ""


def google_table(listings: Iterable[Listing]) -> ShopTable:
    """A row per product: id, title, category and the attributes of apparel. A field beyond a limit stays blank."""
    columns = ["id", "title", "google_product_category", "color", "gender", "age_group", "material", "pattern"]
    table = ShopTable([*columns, "size", "image_link"])
    for listing in listings:
        if len(listing.id) > GOOGLE_LENGTHS["id"]:
            table.left_out[f"products left out: the id has more than {GOOGLE_LENGTHS['id']} characters"] += 1
            continue
        row = {"id": listing.id}
        if listing.category is not None:
            row["google_product_category"] = listing.category.id or listing.category.name
        texts = {column: [value.name for value in targets] for column, targets in listing.fields.items()}
        texts |= {"title": [" ".join(listing.title.split())], "size": [*listing.size]}
        for column, words in texts.items():
            kept = words[: GOOGLE_SEVERAL.get(column, 1)]
            if len(kept) < len(words):
                # A second gender or size would make the first one wrong, a further color does not.
                kept = kept if column in (*GOOGLE_SEVERAL, "pattern") else []
                table.left_out[f"{column}: more values than Google takes"] += 1
            cell = "/".join(kept)
            if fault := _google_fault(column, kept, cell):
                table.left_out[f"{column} left blank: {fault}"] += 1
            elif cell:
                row[column] = cell
        if len(listing.image) > GOOGLE_IMAGE:
            table.left_out[f"image_link left blank: it has more than {GOOGLE_IMAGE:,} characters"] += 1
        elif listing.image:
            row["image_link"] = listing.image
        table.rows.append(row)
    return table


def _google_fault(column: str, words: list[str], cell: str) -> str:
    """Why Google would not accept a cell, "" if it would."""
    limit = GOOGLE_LENGTHS.get(column)
    if limit and len(cell) > limit:
        return f"it has more than {limit} characters"
    if column != "color":
        return ""
    if any(len(word) > GOOGLE_COLOR for word in words):
        return f"a color has more than {GOOGLE_COLOR} characters"
    if any(not any(character.isalpha() for character in word) for word in words):
        return "a color has no letters"
    return ""


TABLES: dict[Shop, Callable[[Iterable[Listing]], ShopTable]] = {"shopify": shopify_table, "google": google_table}
