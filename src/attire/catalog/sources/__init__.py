"""Readers of feed formats. Each module has a function `read(feed, options) -> Iterator[Row]`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from attire.catalog.feed_row import Row
from attire.catalog.sources import flipkart, imagefolder, myntra, shopify, table
from attire.catalog.sources.options import SourceOptions

SOURCES: dict[str, Callable[[Path, SourceOptions], Iterator[Row]]] = {
    "flipkart": flipkart.read,
    "imagefolder": imagefolder.read,
    "myntra": myntra.read,
    "shopify": shopify.read,
    "table": table.read,
}

__all__ = ["SOURCES", "SourceOptions"]
