"""Stage 2 of the original method: one MLP head per attribute key, starting from the category network."""

from __future__ import annotations

from pathlib import Path

import cyclopts

import attire
from attire.cli import main as run


def main(
    out: Path,
    *,
    epochs: int = 8,
    batch_size: int = 64,
    lr: float = 2e-3,
    threshold: float = 0.8,
    backbone: str = "resnext50_32x4d",
) -> None:
    """Continue after train.py in OUT; a value is predicted if its sigmoid exceeds THRESHOLD."""
    catalog = attire.Catalog.load(out / "catalog")
    fields = {
        "batch_size": batch_size,
        "backbone": backbone,
        "attributes": {"epochs": epochs, "lr": lr},
        "decision": {"threshold": threshold},
    }
    recipe = attire.load_recipe("original", fields)
    attire.train(catalog, attire.Splits.load(catalog), recipe=recipe, out=out, stage="attributes", weights="none")


if __name__ == "__main__":
    run(lambda: cyclopts.run(main))
