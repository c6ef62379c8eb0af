"""Ingest as the command line and `attire.ingest` have it: the catalog, and its photos decoded if that is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from attire.catalog import ingest as catalog
from attire.catalog.sources import SourceOptions
from attire.catalog.store import Catalog
from attire.errors import ConfigError
from attire.pixels.photo_cache import fill


def ingest(
    feed: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    source: str = "table",
    taxonomy: str | Path | None = None,
    options: SourceOptions | None = None,
    bad_rows: Literal["refuse", "quarantine"] = "refuse",
    replace: bool = False,
    cache: int | None = None,
) -> Catalog:
    """As `attire.catalog.ingest.ingest`, and with `cache` fill the catalog's photo cache of that many px."""
    if cache is not None and cache < 1:
        raise ConfigError(f"cache={cache}: expected the px of the shorter side of cached photos, for instance 256.")
    made = catalog.ingest(
        feed,
        images,
        out,
        source=source,
        taxonomy=taxonomy,
        options=options,
        bad_rows=bad_rows,
        replace=replace,
    )
    if cache is not None:
        fill(made, cache)
    return made
