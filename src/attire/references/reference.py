"""What a published taxonomy says, in one form for all of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PATH = " > "  # between a category and those above it
Shop = Literal["shopify", "google"]


@dataclass(frozen=True, slots=True)
class Category:
    """A category. id: `aa-1-4` (Shopify) or `2271` (Google); path: with all categories above it.

    attributes: ids of Shopify's attributes.
    """

    id: str
    path: str
    attributes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(PATH)[2]

    @property
    def depth(self) -> int:
        """The number of categories above it."""
        return self.path.count(PATH)


@dataclass(frozen=True, slots=True)
class Value:
    """A value of an attribute. id: Shopify's handle, `sleeve-length-type__short`."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of Shopify. id: its handle, `sleeve-length-type`."""

    id: str
    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """All that was read from files: categories by shop and id, Shopify's attributes by id, and `google_of`, the Google
    category of each Shopify category, by id."""

    categories: Mapping[Shop, Mapping[str, Category]]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    google_of: Mapping[str, str] = field(default_factory=dict)
