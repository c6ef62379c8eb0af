"""Ablation of the recipe `frozen`: heads trained on the same cached embeddings with one field changed.

python benchmarks/ablation.py CATALOG --weights resnet50.safetensors --seeds 0 1 2 [--variants NAME...]

Prints one line per variant: scores on val, as mean and half the range over seeds. The trunk is narrower than in the
recipe to keep the runs short. The first run computes the embeddings.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
from rich.console import Console
from rich.table import Table

import attire
from attire.config import Recipe
from attire.embeddings import catalog_embeddings
from attire.score.metrics import headline, match
from attire.score.promise import PRECISION
from attire.training.calibrate import collect_logits
from attire.training.data import Subset

BINARY: dict[str, Any] = {  # the original's decision rule and labels
    "folds": 0,
    "decision": {"rule": "threshold", "threshold": 0.8},
    "unlabelled": "negative",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "frozen": {},
    "no trunk": {"trunk": 0},
    "mlp heads": {"head": "mlp", "hidden": 32},
    "balance 0": {"balance": 0.0},
    "balance 1": {"balance": 1.0},
    "sampling 0.5": {"sampling": 0.5, "balance": 0.0},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "dropout 0.2": {"dropout": 0.2},
    "40 epochs": {"attributes": {"epochs": 40}},
    "gate 0.7": {"decision": {"gate": 0.7}},
    "bce, negative, threshold 0.8": {"loss": "bce", **BINARY},
    "weighted bce, negative, threshold 0.8": {"loss": {"name": "weighted_bce", "power": 0.5}, **BINARY},
    "focal, negative, threshold 0.8": {"loss": "focal", "attribute_weight": 10.0, **BINARY},
    "asl, negative, threshold 0.8": {"loss": "asl", "attribute_weight": 10.0, **BINARY},
    "bce, selective, threshold 0.8": {"loss": "bce", **BINARY, "unlabelled": "selective"},
    "bce, ignore, typed": {"loss": "bce", "attribute_weight": 10.0},
    "asl, ignore, typed": {"loss": "asl", "attribute_weight": 10.0},
}
SHOWN = (
    "attribute_iou",
    "macro_iou",
    "map",
    "category_accuracy",
    "spurious_rate",
    "coverage_95",
    "precision_95",
    "ece",
)


def main(
    catalog: Path,
    *,
    weights: Path,
    backbone: str = "resnet50",
    size_px: tuple[int, int] = (224, 168),
    trunk: int = 256,
    seeds: Annotated[list[int], cyclopts.Parameter(consume_multiple=True)] = [0],  # noqa: B006
    variants: Annotated[list[str], cyclopts.Parameter(consume_multiple=True)] = list(VARIANTS),  # noqa: B006
) -> None:
    """Train and score each of `variants` with each of `seeds`."""
    console, rows = Console(width=180), []
    for name in variants:
        figures = []
        for seed in seeds:
            base = {"backbone": backbone, "size_px": size_px, "trunk": trunk, "seed": seed}
            recipe = attire.load_recipe("frozen", {**base, **VARIANTS[name]})
            figures.append(score(attire.Catalog.load(catalog), recipe, weights))
        rows.append([name, *(_spread([run[figure] for run in figures]) for figure in SHOWN)])
        console.print("  ".join(rows[-1]))
    table = Table("variant", *SHOWN, title=f"{backbone}, {size_px}, trunk {trunk}, seeds {seeds}")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def score(catalog: attire.Catalog, recipe: Recipe, weights: Path) -> dict[str, float]:
    """Train one recipe and return its scores on val."""
    splits = attire.Splits.load(catalog)
    with tempfile.TemporaryDirectory() as out:
        bundle = attire.train(catalog, splits, recipe=recipe, out=out, weights=weights)
        embeddings = catalog_embeddings(catalog, bundle.network, recipe.backbone, bundle.preprocess, workers=1)
        val = Subset(catalog, splits.val, "val", None).embedding_examples(embeddings)
        truth, category, attributes = collect_logits(bundle.network.heads, val)
    decisions = bundle.decide(category, attributes)
    accepted = bundle.accepted(decisions, PRECISION) if bundle.calibration else None
    return headline(match(bundle.taxonomy, truth, decisions, accepted))


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f}" + (f" ±{(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    cyclopts.run(main)
