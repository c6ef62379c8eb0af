"""Stage 1 of the original method: train a ResNeXt-50 on categories."""

from __future__ import annotations

from pathlib import Path

import cyclopts

import attire
from attire.cli import main as run


def main(
    csv: Path,
    *data_dir: Path,
    out: Path,
    epochs: int = 13,
    batch_size: int = 64,
    lr: float = 2e-3,
    source: str = "flipkart",
    backbone: str = "resnext50_32x4d",
    weights: str | None = None,
    seed: int = 0,
) -> None:
    """Ingest CSV and the photos in DATA-DIR into OUT/catalog, split it 75/25, and train the category network."""
    catalog = attire.ingest(csv, data_dir, out / "catalog", source=source)
    splits = attire.split(catalog, val=0.25, seed=seed)
    stage = {"epochs": epochs, "lr": lr}
    recipe = attire.load_recipe("original", {"batch_size": batch_size, "backbone": backbone, "category": stage})
    attire.train(catalog, splits, recipe=recipe, out=out, stage="category", weights=weights)


if __name__ == "__main__":
    run(lambda: cyclopts.run(main))
