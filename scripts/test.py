"""The original's test of stage 1: category accuracy on photos that were not trained on."""

from __future__ import annotations

from pathlib import Path

import cyclopts
from rich.console import Console

import attire
from attire.cli import main as run
from attire.evaluation.tables import sheets


def main(out: Path, *, split: str = "val") -> None:
    """Evaluate OUT/bundle on SPLIT of OUT/catalog and write OUT/report-category."""
    catalog = attire.Catalog.load(out / "catalog")
    figures, _, categories = sheets(attire.evaluate(out / "bundle", catalog, split, out=out / "report-category"))
    Console().print(figures.table(), categories.table())


if __name__ == "__main__":
    run(lambda: cyclopts.run(main))
