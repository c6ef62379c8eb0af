"""New keys and values from a few examples: IoU beside a model that learned them with all others.

python benchmarks/new_keys.py CATALOG FULL_BUNDLE --held BUNDLE --weights FILE [--json FILE]

FULL_BUNDLE is one of the recipe frozen that was trained on the catalog. The keys and values of `HELD_KEYS` and
`HELD_VALUES` are removed from the taxonomy and the labels, and a bundle is trained without them (BUNDLE, made if it is
missing). Then they are added to it with `--only-keys`, with at most 5, 10, 20 and 50 labels of each value, which are
drawn from train with three seeds; and with all labels. All are scored on the same products of val, by the answers that
`decide` gives, so that a key that is predicted not to apply counts as wrong. Nothing is chosen on val here, but the
penalty of `linear_probe.py` was (docs/experiments.md).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import polars as pl
from rich.console import Console
from support.common import machine

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Recipe
from attire.embeddings import catalog_embeddings
from attire.labels import labelled
from attire.score.metrics import match, per_key
from attire.taxonomy import Taxonomy
from attire.training.calibrate import collect_logits
from attire.training.data import Subset
from attire.training.run import train

HELD_KEYS = ("pattern", "sleeve_length", "neck", "occasion", "material", "waist_rise")
HELD_VALUES = {"colour": "Green", "usage": "Formal", "ideal_for": "Boys"}
COUNTS, SEEDS = (5, 10, 20, 50), (0, 1, 2)
console = Console()


def relabelled(catalog: Catalog, taxonomy: Taxonomy, labels: pl.DataFrame) -> Catalog:
    """The catalog with other words and labels."""
    changed = Catalog(catalog.path, taxonomy, catalog.digest)
    changed.labels = labels
    return changed


def without(taxonomy: Taxonomy) -> Taxonomy:
    """The taxonomy without what is held out."""
    content = taxonomy.model_dump()
    content["keys"] = {name: key for name, key in content["keys"].items() if name not in HELD_KEYS}
    for name, value in HELD_VALUES.items():
        key = content["keys"][name]
        key["values"] = [word for word in key["values"] if word != value]
        for field in ("aliases", "titles", "parents"):
            key[field] = {a: b for a, b in key.get(field, {}).items() if value not in (a, b)}
    return Taxonomy.model_validate(content)


def is_held() -> pl.Expr:
    """Rows of labels that are held out."""
    values = [(pl.col("key") == key) & (pl.col("value") == value) for key, value in HELD_VALUES.items()]
    return pl.any_horizontal(pl.col("key").is_in(HELD_KEYS), *values)


def drawn(catalog: Catalog, splits: Splits, count: int | None, seed: int) -> pl.DataFrame:
    """All labels, but of those held out and in train only `count` of each value (None: all)."""
    held, others = catalog.labels.filter(is_held()), catalog.labels.filter(~is_held())
    in_train = pl.col("id").is_in(splits.train)
    learned = held.filter(in_train)
    if count is not None:
        shuffled = learned.sample(fraction=1, shuffle=True, seed=seed)
        learned = shuffled.filter(pl.int_range(pl.len()).over("key", "value") < count)
    return pl.concat([others, learned, held.filter(~in_train)])


def score(bundle: ModelBundle, catalog: Catalog, splits: Splits) -> dict[str, Any]:
    """IoU, coverage and precision at 95% of the keys, and IoU of the single values, on val."""
    val = Subset(catalog, splits.val, "val")
    embeddings = catalog_embeddings(catalog, bundle.network, bundle.spec.network.backbone, bundle.preprocess, 0)
    answers = collect_logits(bundle.network.heads, val.embedding_examples(embeddings))
    decisions = bundle.decide(answers.category, answers.attributes)
    accepted = bundle.accepted(decisions, 0.95) if bundle.calibration else None
    taxonomy = bundle.taxonomy
    matches = match(taxonomy, answers.truth, decisions, accepted)
    iou = dict(zip(taxonomy.keys, per_key(taxonomy, matches)["iou"].tolist(), strict=True))
    figures: dict[str, Any] = {"iou": {key: iou[key] for key in HELD_KEYS if key in iou}, "value_iou": {}}
    names = list(taxonomy.keys)
    if matches.filled is not None:
        figures["filled"] = {
            key: [
                float(matches.filled[:, names.index(key)].sum() / matches.known[:, names.index(key)].sum()),
                float(
                    matches.filled_right[:, names.index(key)].sum() / max(1, matches.filled[:, names.index(key)].sum())
                ),
            ]
            for key in HELD_KEYS
        }
    hot = np.asarray(answers.truth.hot, dtype=bool)
    for key, value in HELD_VALUES.items():
        column = taxonomy.column_index.get((key, value))
        if column is not None:
            known = labelled(taxonomy, hot)[:, names.index(key)]
            stated, chosen = hot[known, column], decisions.chosen[known, column]
            figures["value_iou"][f"{key}: {value}"] = float((stated & chosen).sum() / max(1, (stated | chosen).sum()))
            figures["iou"][key] = iou[key]
    return figures


def share(figures: Mapping[str, Any], full: Mapping[str, Any], kind: str, names: Sequence[str]) -> float:
    """The mean share of the full model's figure."""
    return float(np.mean([figures[kind][name] / full[kind][name] for name in names]))


def main(
    data: Path, full: Path, /, *, held: Path, weights: Path, parts: Path | None = None, json_to: Path | None = None
) -> None:
    """Measure; figures of finished draws are kept in the folder `parts`."""
    catalog = Catalog.load(data)
    splits = Splits.of(None, catalog)
    complete = ModelBundle.load(full)
    parts = parts or Path(tempfile.mkdtemp())
    parts.mkdir(parents=True, exist_ok=True)
    small = relabelled(catalog, without(catalog.taxonomy), catalog.labels.filter(~is_held()))
    if not held.exists():
        recipe = Recipe.model_validate(complete.provenance["recipe"])
        train(small, splits, recipe=recipe, out=held.parent, weights=weights, resume=True)
    start = ModelBundle.load(held)
    reference = score(complete, catalog, splits)
    records: dict[str, Any] = {}
    for count in (*COUNTS, None):
        for seed in SEEDS if count else SEEDS[:1]:
            file = parts / f"{count or 'all'}-{seed}.json"
            if not file.exists():
                grown = relabelled(catalog, catalog.taxonomy, drawn(catalog, splits, count, seed))
                keys = [*HELD_KEYS, *HELD_VALUES]
                with tempfile.TemporaryDirectory() as out:
                    begun = time.perf_counter()
                    bundle = train(grown, splits, init_from=start, only_keys=keys, out=out, workers=0)
                    figures = {"seconds": time.perf_counter() - begun, **score(bundle, catalog, splits)}
                    if bundle.calibration:
                        figures["held_back"] = sorted(set(bundle.thresholds(0.95).held_back) & set(keys))
                file.write_text(json.dumps(figures))
            records.setdefault(str(count or "all"), []).append(json.loads(file.read_text()))
            console.print(file.name, records[str(count or "all")][-1]["seconds"])
    table = {}
    for count, draws in records.items():
        of_keys = [share(one, reference, "iou", HELD_KEYS) for one in draws]
        of_values = [share(one, reference, "value_iou", list(reference["value_iou"])) for one in draws]
        table[count] = {
            "keys": {k: round(float(np.mean([one["iou"][k] for one in draws])), 3) for k in reference["iou"]},
            "values": {
                k: round(float(np.mean([one["value_iou"][k] for one in draws])), 3) for k in reference["value_iou"]
            },
            "share_of_full_keys": [round(x, 3) for x in of_keys],
            "share_of_full_values": [round(x, 3) for x in of_values],
            "held_back": [one.get("held_back") for one in draws],
            "filled": [one.get("filled") for one in draws],
            "seconds": [round(one["seconds"], 1) for one in draws],
        }
    console.print_json(json.dumps({"full": reference, **table}))
    if json_to is not None:
        content = {
            "command": "python benchmarks/new_keys.py CATALOG FULL_BUNDLE --held BUNDLE --weights FILE",
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": machine(),
            "full": reference,
            "labels_per_value": table,
        }
        json_to.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    cyclopts.run(main)
