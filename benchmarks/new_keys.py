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
from typing import Annotated, Any

import cyclopts
import numpy as np
import polars as pl
from cyclopts import Parameter
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


def without(taxonomy: Taxonomy, keys: Sequence[str], values: Mapping[str, str]) -> Taxonomy:
    """The taxonomy without these keys, and without these values of other keys."""
    content = taxonomy.model_dump()
    content["keys"] = {name: key for name, key in content["keys"].items() if name not in keys}
    for name, value in values.items():
        key = content["keys"][name]
        key["values"] = [word for word in key["values"] if word != value]
        for field in ("aliases", "titles", "parents"):
            key[field] = {a: b for a, b in key.get(field, {}).items() if value not in (a, b)}
    return Taxonomy.model_validate(content)


def drawn(catalog: Catalog, splits: Splits, count: int | None, seed: int, held: pl.Expr) -> pl.DataFrame:
    """All labels, but of those held out and in train only `count` of each value (None: all)."""
    rows, others = catalog.labels.filter(held), catalog.labels.filter(~held)
    in_train = pl.col("id").is_in(splits.train)
    learned = rows.filter(in_train)
    if count is not None:
        shuffled = learned.sample(fraction=1, shuffle=True, seed=seed)
        learned = shuffled.filter(pl.int_range(pl.len()).over("key", "value") < count)
    return pl.concat([others, learned, rows.filter(~in_train)])


def score(bundle: ModelBundle, catalog: Catalog, splits: Splits) -> dict[str, Any]:
    """IoU of the keys, and of the single values, on val."""
    val = Subset(catalog, splits.val, "val")
    embeddings = catalog_embeddings(catalog, bundle.network, bundle.spec.network.backbone, bundle.preprocess, 0)
    answers = collect_logits(bundle.network.heads, val.embedding_examples(embeddings))
    decisions = bundle.decide(answers.category, answers.attributes)
    taxonomy = bundle.taxonomy
    matches = match(taxonomy, answers.truth, decisions)
    iou = dict(zip(taxonomy.keys, per_key(taxonomy, matches)["iou"].tolist(), strict=True))
    figures: dict[str, Any] = {"iou": {key: iou[key] for key in HELD_KEYS if key in iou}, "value_iou": {}}
    names = list(taxonomy.keys)
    hot = np.asarray(answers.truth.hot, dtype=bool)
    for key, value in HELD_VALUES.items():
        column = taxonomy.column_index.get((key, value))
        if column is not None:
            known = labelled(taxonomy, hot)[:, names.index(key)]
            stated, chosen = hot[known, column], decisions.chosen[known, column]
            figures["value_iou"][f"{key}: {value}"] = float((stated & chosen).sum() / max(1, (stated | chosen).sum()))
    return figures


def summary(draws: Sequence[Mapping[str, Any]], full: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Means over draws, and for each draw the mean share of the full model's figures."""
    field, names = ("iou", list(HELD_KEYS)) if kind == "keys" else ("value_iou", list(full["value_iou"]))
    return {
        "iou": {name: round(float(np.mean([one[field][name] for one in draws])), 3) for name in names},
        "share_of_full": [round(float(np.mean([one[field][n] / full[field][n] for n in names])), 3) for one in draws],
        "cpu_s": [round(one["cpu_s"], 1) for one in draws],
    }


def main(
    data: Path,
    full: Path,
    /,
    *,
    held: Path,
    weights: Path,
    parts: Path | None = None,
    json_to: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure; figures of finished draws are kept in the folder `parts`."""
    catalog = Catalog.load(data)
    splits = Splits.of(None, catalog)
    complete = ModelBundle.load(full)
    parts = parts or Path(tempfile.mkdtemp())
    parts.mkdir(parents=True, exist_ok=True)
    of_keys = pl.col("key").is_in(HELD_KEYS)
    of_values = pl.any_horizontal(
        (pl.col("key") == key) & (pl.col("value") == value) for key, value in HELD_VALUES.items()
    )
    if not held.exists():
        recipe = Recipe.model_validate(complete.provenance["recipe"])
        taxonomy = without(catalog.taxonomy, HELD_KEYS, HELD_VALUES)
        small = relabelled(catalog, taxonomy, catalog.labels.filter(~(of_keys | of_values)))
        train(small, splits, recipe=recipe, out=held.parent, weights=weights, resume=True)
    start = ModelBundle.load(held)
    reference = score(complete, catalog, splits)
    table: dict[str, Any] = {}
    for kind, counts in (("keys", (*COUNTS, None)), ("values", COUNTS)):
        added, rows = (list(HELD_KEYS), of_keys) if kind == "keys" else (list(HELD_VALUES), of_values)
        taxonomy = without(catalog.taxonomy, *(((), HELD_VALUES) if kind == "keys" else (HELD_KEYS, {})))
        known = catalog.labels.filter(~(of_values if kind == "keys" else of_keys))
        draws: dict[str, list[dict[str, Any]]] = {}
        for seed in SEEDS:
            for count in counts if seed == SEEDS[0] else COUNTS:
                name = f"{kind}-{count or 'all'}-{seed}"
                file = parts / f"{name}.json"
                if not file.exists():
                    chosen = drawn(relabelled(catalog, taxonomy, known), splits, count, seed, rows)
                    grown = relabelled(catalog, taxonomy, chosen)
                    with tempfile.TemporaryDirectory() as out:
                        begun = time.process_time()
                        bundle = train(grown, splits, init_from=start, only_keys=added, out=out, workers=0)
                        figures = {"cpu_s": time.process_time() - begun, **score(bundle, grown, splits)}
                    file.write_text(json.dumps(figures))
                draws.setdefault(str(count or "all"), []).append(json.loads(file.read_text()))
                console.print(name, draws[str(count or "all")][-1])
        table[kind] = {count: summary(figures, reference, kind) for count, figures in draws.items()}
    console.print_json(json.dumps({"full": reference, **table}))
    if json_to is not None:
        content = {
            "command": "python benchmarks/new_keys.py CATALOG FULL_BUNDLE --held BUNDLE --weights FILE",
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": machine(),
            "full": reference,
            **table,
        }
        json_to.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    cyclopts.run(main)
