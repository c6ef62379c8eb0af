"""The original's test of stage 2: attributes, with every value whose sigmoid exceeds a threshold."""

from __future__ import annotations

from pathlib import Path

import cyclopts
from rich.console import Console

import attire
from attire.cli import main as run
from attire.evaluation.tables import sheets


def main(out: Path, *, threshold: float = 0.8, split: str = "val") -> None:
    """Evaluate OUT/bundle on SPLIT of OUT/catalog and write OUT/report-attributes."""
    bundle = attire.ModelBundle.load(out / "bundle")
    bundle = bundle.with_decision(bundle.decision.model_copy(update={"threshold": threshold}))
    catalog = attire.Catalog.load(out / "catalog")
    figures, keys, _ = sheets(attire.evaluate(bundle, catalog, split, out=out / "report-attributes"))
    Console().print(figures.table(), keys.table())


if __name__ == "__main__":
    run(lambda: cyclopts.run(main))
