"""Columns of Shopify's product CSV for the attributes of a category: `Name (product.metafields.shopify.handle)`."""

from __future__ import annotations

import re
from typing import NamedTuple

from attire.references.reference import Attribute
from attire.spellings import MARKS

STANDARD = "shopify"  # the namespace of the metafields that belong to a category
METAFIELD = re.compile(r"(?P<name>.+?) *\(product\.metafields\.(?P<namespace>[^.()]+)\.(?P<handle>[^()]+)\)")
HANDLES = {"color": "color-pattern"}  # the metafields whose handle is not that of the attribute
WITHOUT_COLUMN = frozenset({"pattern"})  # an entry of the metafield `color-pattern` has a color and a pattern


class Metafield(NamedTuple):
    """The parts of a column's name."""

    name: str
    namespace: str
    handle: str


def metafield(column: str) -> Metafield | None:
    """The metafield of a column, None for any other column.

    >>> metafield("Sleeve length type (product.metafields.shopify.sleeve-length-type)").handle
    'sleeve-length-type'
    """
    match = METAFIELD.fullmatch(column)
    return Metafield(match["name"], match["namespace"], match["handle"]) if match else None


def column_of(attribute: Attribute) -> str:
    """The column of an attribute, "" if Shopify's CSV has none."""
    if attribute.id in WITHOUT_COLUMN:
        return ""
    return f"{attribute.name} (product.metafields.{STANDARD}.{HANDLES.get(attribute.id, attribute.id)})"


def attribute_id(column: str) -> str:
    """The id of the attribute of a column, "" for a column of something else."""
    field = metafield(column)
    if field is None or field.namespace != STANDARD:
        return ""
    return next((id for id, handle in HANDLES.items() if handle == field.handle), field.handle)


def slug(text: str) -> str:
    """A text as a handle: lower case, and hyphens instead of anything but letters and digits.

    >>> slug("V-neck"), slug("3/4"), slug("Hook & loop")
    ('v-neck', '3-4', 'hook-loop')
    """
    return MARKS.sub("-", text.casefold()).strip("-")
