"""Reports of the present version and of the last candidate, kept in the shelf so that none is made twice."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.errors import ReportError
from attire.evaluation.evaluate import evaluate
from attire.evaluation.report import Report
from attire.evaluation.selection import ALL
from attire.files import temporary_folder

# Engines differ in some answers. What is compared are models, so both run as they were trained.
ENGINE = "torch"


def evaluated(folder: Path, bundle: ModelBundle, catalog: Catalog, split: str) -> Path:
    """The report of a bundle on a split, in a directory below `folder`, made unless it is there.

    The caller holds the lock of promotions. Raises `AttireError` as `evaluate` does.
    """
    report = folder / _name(bundle, catalog, split)
    if not _is_of(report, bundle, catalog, split):
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_folder(folder, ".report-") as temporary:
            evaluate(bundle, catalog, split, engine=ENGINE, out=temporary / "report")
            shutil.rmtree(report, ignore_errors=True)
            (temporary / "report").replace(report)
    return report


def forget_others(folder: Path, kept: Collection[Path]) -> None:
    """Remove the reports that nobody would compare with any more: all but those in `kept`."""
    for report in folder.iterdir() if folder.is_dir() else ():
        if report not in kept:
            shutil.rmtree(report, ignore_errors=True)


def _name(bundle: ModelBundle, catalog: Catalog, split: str) -> str:
    return f"{bundle.digest[:12]}-{catalog.digest[:12]}-{split}"


def _is_of(report: Path, bundle: ModelBundle, catalog: Catalog, split: str) -> bool:
    try:
        found = Report.load(report).provenance
    except ReportError:
        return False
    wanted = {
        "bundle": bundle.digest,
        "catalog": catalog.digest,
        "split": split,
        "splits": None if split == ALL else Splits.load(catalog).digest,
        "attire": version("attire"),
        "engine": ENGINE,
    }
    return all(getattr(found, name) == value for name, value in wanted.items())
