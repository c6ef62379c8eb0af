"""How good heads are that learned decisions in a minute, beside those that are trained from the start.

python benchmarks/learn.py CATALOG --weights FILE --work DIR [--hidden 0.4] [--set FIELD=VALUE] [--json FILE]

CATALOG is a split catalog whose embeddings are cached. A reviewer first clears the labels of a share of the products of
train, and a bundle is trained on the rest. Then the reviewer decides what the labels were, and `attire learn` and
`attire train` learn them, each on its own. All bundles are scored on val. Each step is skipped if WORK has its result.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
from rich.console import Console
from support.common import machine

import attire
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import load_recipe, parse_assignments
from attire.inference.embedded import EmbeddedEngine
from attire.learning.learn import learn
from attire.review.store.events import STORE, Store, Verdict

FIGURES = ("attribute_iou", "macro_iou", "category_accuracy", "coverage_95", "precision_95")
console = Console()
AT_ONCE = 1000  # verdicts per transaction


def main(
    catalog: Path,
    *,
    weights: Path,
    work: Path,
    hidden: float = 0.4,
    json_: Path | None = None,
    fields: Annotated[list[str] | None, cyclopts.Parameter(name="--set", consume_multiple=True)] = None,
) -> None:
    """Run the simulation."""
    os.environ["ATTIRE_CACHE"] = str(catalog.absolute() / "cache")
    recipe = load_recipe("frozen", parse_assignments(fields or ()))
    shop = work / "catalog"
    if not shop.exists():
        shutil.copytree(catalog, work / "copy", ignore=shutil.ignore_patterns("cache", "review.sqlite*", "learn*"))
        _decide(work / "copy", hidden, clear=True)
        attire.apply_reviews(work / "copy")
        attire.split(work / "copy")
        (work / "copy").rename(shop)
    seconds: dict[str, float] = (
        json.loads((work / "seconds.json").read_text()) if (work / "seconds.json").exists() else {}
    )
    if not (work / "before" / "bundle").exists():
        attire.train(shop, recipe=recipe, out=work / "before", weights=weights, resume=True)
    if not (work / "learned").exists():
        _decide(shop, hidden, clear=False)
        began = time.monotonic()
        learn(shop, work / "before" / "bundle", work / "learned")
        seconds["learn"] = time.monotonic() - began
        (work / "seconds.json").write_text(json.dumps(seconds))
    if not (work / "anew" / "bundle").exists():
        began = time.monotonic()
        attire.train(shop, recipe=recipe, out=work / "anew", weights=weights, resume=True)
        seconds["train"] = time.monotonic() - began
        (work / "seconds.json").write_text(json.dumps(seconds))
    opened, rows = Catalog.load(shop), {}
    for name in ("before", "learned", "anew"):
        bundle = attire.ModelBundle.load(work / name / "bundle")
        engine = EmbeddedEngine(bundle, opened)
        report = attire.evaluate(bundle, opened, engine=engine, out=work / "scores" / name, brief=True)
        rows[name] = {figure: report.figures[figure].value for figure in FIGURES}
        console.print(name, {figure: round(value, 4) for figure, value in rows[name].items()})
    learned = attire.compare(work / "scores" / "anew", work / "scores" / "learned")
    intervals = {name: (learned.figures[name].low, learned.figures[name].high) for name in FIGURES}
    console.print("learned - anew, 95% interval", intervals)
    if json_ is not None:
        result = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "hidden": hidden,
            "seconds": seconds,
            "figures": rows,
            "learned_minus_anew": intervals,
        }
        json_.write_text(json.dumps(result, indent=1) + "\n")


def _decide(shop: Path, hidden: float, *, clear: bool) -> None:
    """Clear the labels of a share of train, or decide what they were before."""
    catalog, store = Catalog.load(shop), Store(shop / STORE)
    held = store.held()
    fields: list[tuple[str, str, tuple[str, ...]]]
    if clear:
        train = np.array(Splits.load(catalog).train)
        chosen = np.random.default_rng(0).random(len(train)) < hidden
        fields = [(id, key, ()) for id in train[chosen].tolist() for key in catalog[id].labels]
    else:
        stated = catalog.before_review(list(held))
        fields = [(id, key, stated[id].labels[key]) for id, key in held]
    verdicts = [
        Verdict(id, key, "clear" if clear else "set", values, held[id, key].version if (id, key) in held else 0)
        for id, key, values in fields
    ]
    for start in range(0, len(verdicts), AT_ONCE):
        store.decide("simulated", verdicts[start : start + AT_ONCE])
    store.close()


if __name__ == "__main__":
    cyclopts.run(main)
