"""Reports and bundles that hold something of removed products."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from attire.bundle import SPEC
from attire.evaluation.evidence import PRODUCTS
from attire.evaluation.report import SCORES
from attire.files import read_json, read_parquet
from attire.learned import LEARNED, Learned
from attire.progress import track
from attire.review.learn_status import MADE


class Trace(NamedTuple):
    """A directory of a report or bundle, and what it holds of the products."""

    path: Path
    what: str


def find_traces(
    folders: Iterable[Path], ids: Collection[str], photos: Collection[str], digests: Collection[str]
) -> list[Trace]:
    """The reports and bundles below `folders` that hold something of the products `ids`, sorted by path.

    photos: the SHA-256 of their photos. digests: those of the catalogs that had the products, for bundles that do not
    record which photos they learned from.
    """
    found = []
    for folder in track(sorted(folders), "looking for reports and bundles", "folders"):
        for path in _directories(folder):
            if (path / SCORES).is_file() and (count := _reported(path, ids)):
                found.append(
                    Trace(path, f"report with answers, labels and perhaps photos of {_number(count, 'product')}")
                )
            if (path / SPEC).is_file() and (what := _learned(path, photos, digests)):
                found.append(Trace(path, what))
    return sorted(found)


def beside(catalog: Path) -> list[Path]:
    """The directories next to the catalog, without hidden ones, and that of the models which its review page made."""
    made = catalog / MADE
    return [
        *([made] if made.is_dir() else []),
        *(
            path
            for path in catalog.parent.iterdir()
            if path != catalog and not path.name.startswith(".") and path.is_dir() and not path.is_symlink()
        ),
    ]


def _directories(folder: Path) -> Iterator[Path]:
    for path, names, _ in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".")]
        yield Path(path)


def _reported(report: Path, ids: Collection[str]) -> int:
    try:
        return int(read_parquet(report / PRODUCTS, ["id"])["id"].is_in(list(ids)).sum())
    except (OSError, pl.exceptions.PolarsError):
        return 0


def _learned(bundle: Path, photos: Collection[str], digests: Collection[str]) -> str:
    try:
        if (bundle / LEARNED).is_file():
            count = int(Learned.load(bundle).has(photos).sum())
            return f"bundle that learned from {_number(count, 'photo')} of them" if count else ""
        catalog = read_json(bundle / SPEC)["provenance"].get("catalog")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "bundle that cannot be read, so it may have learned from them"
    return "bundle trained on this catalog, which may have learned from them" if catalog in digests else ""


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
