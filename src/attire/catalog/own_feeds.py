"""Feeds that attire writes about a catalog: the names of their columns, and the command that ingests them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from attire.catalog.store import Catalog
from attire.taxonomy import Taxonomy

ROOTS = 8  # photo folders that are listed in a command before they are replaced by their common parent
STANDARD = ("id", "group", "category", "title", "image")


def standard_columns(taxonomy: Taxonomy, names: Sequence[str] = STANDARD) -> dict[str, str]:
    """The names of columns that are not keys, renamed if a key has the same name."""
    return {name: name if name not in taxonomy.keys else f"product {name}" for name in names}


def ingest_command(
    catalog: Catalog, feed: Path, out: str | Path, options: Sequence[str | Path], columns: Mapping[str, str]
) -> str:
    """The command that ingests `feed`, whose photos are those of the catalog. `columns` is by `standard_columns`."""
    renamed = [word for name in STANDARD if columns.get(name, name) != name for word in (f"--{name}", columns[name])]
    words = ["attire", "ingest", feed, "--images", *photo_folders(catalog), *options, *renamed, "--out", out]
    return shlex.join(map(str, words))


def photo_folders(catalog: Catalog) -> list[Path]:
    """The folders in which the catalog's photos are found under the names that its feeds have for them."""
    roots: dict[Path, None] = {}
    for name, stored_path in catalog.photos.select("name", "path").iter_rows():
        path = catalog.path / stored_path
        parts = PurePosixPath(name).parts
        depth = len(parts) if path.parts[-len(parts) :] == parts else 1
        roots[path.parents[depth - 1]] = None
    if len(roots) > ROOTS:
        return [Path(os.path.commonpath(list(roots)))]
    return list(roots)
