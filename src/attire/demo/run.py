"""The demo, on a synthetic catalog: draw, ingest, split, train, evaluate, predict, fill, and compare with the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attire.catalog.ingest import ingest
from attire.catalog.splits import split
from attire.catalog.store import Catalog
from attire.config import load_recipe
from attire.demo.contact_sheet import Entry, Line, Verdict, contact_sheet
from attire.demo.draw import draw_catalog
from attire.errors import MissingExtraError
from attire.evaluation.evaluate import evaluate
from attire.evaluation.report import Report
from attire.filling.fill import fill
from attire.inference.bulk import predict
from attire.model.packaged_weights import packaged_weights
from attire.spreadsheets import read_csv
from attire.taxonomy import SEPARATOR
from attire.training.run import train

SEED = 7
BACKBONE = "tf_efficientnet_lite0"
SETTINGS = {"backbone": BACKBONE, "size_px": (160, 120), "batch_size": 32}
PRECISION = 0.9  # of filled fields; too many labels of the feed are wrong to measure 0.95
SHOWN = 15  # products on the contact sheet

Words = Mapping[str, Mapping[str, str]]  # product -> key -> word


@dataclass(frozen=True, slots=True)
class Demo:
    """Files and results of the demo.

    Of the `empty` fields of the feed, `filled` were filled, and `filled_right` of these agree with the truth.
    """

    feed: Path
    catalog: Path
    bundle: Path
    predictions: Path
    filled_feed: Path
    report: Path
    sheet: Path
    scores: Report
    quarantined: int
    empty: int
    filled: int
    filled_right: int


def run_demo(out: Path, *, products: int = 700, epochs: int = 20, step: Callable[[str], None] = lambda _: None) -> Demo:
    """Run all steps in `out`, from the drawings to the filled feed; `step` is called with a description of each step.

    Raises `MissingExtraError` without the extra `offline`, which has the pretrained weights.
    """
    if packaged_weights(BACKBONE) is None:
        raise MissingExtraError("the demo", "offline")
    step(f"Drawing a catalog of {products} garments, with realistic faults")
    drawn = draw_catalog(out / "shop", products, SEED)
    step("attire ingest: read the feed, open photos, group duplicates, draft a taxonomy")
    catalog = ingest(drawn.feed, drawn.photos, out / "catalog", replace=True)
    step("attire split: 25% to val, groups stay together")
    splits = split(catalog, val=0.25, seed=SEED)
    step("attire train: the recipe 'frozen', heads on the embeddings of a pretrained network")
    recipe = load_recipe("frozen", {**SETTINGS, "attributes": {"epochs": epochs, "lr": 2e-3}})
    bundle = train(catalog, splits, recipe=recipe, out=out / "run", resume=True)
    step("attire evaluate: on val, compared with baselines that see no photo")
    scores = evaluate(bundle, catalog, "val", out=out / "report")
    step("attire predict: every product of the catalog")
    predictions = predict(bundle, catalog.path, out / "predictions.csv", precision=PRECISION, overwrite=True).out
    step("attire fill: the feed with its blanks filled")
    filled_feed = out / "feed-filled.csv"
    fill(bundle, drawn.feed, filled_feed, images=drawn.photos, precision=PRECISION, overwrite=True)
    predicted, truth, stated = _read(predictions), _read(drawn.truth), _stated_keys(catalog)
    chosen = np.random.default_rng(SEED).permutation([id for id in splits.val if predicted[id]["category"]])[:SHOWN]
    entries = [_entry(catalog, id, predicted[id], truth[id], stated[id]) for id in chosen.tolist()]
    sheet = out / "contact-sheet.png"
    contact_sheet(entries, f"Predictions for {len(entries)} products that were not used in training").save(sheet)
    empty = [(id, key) for id, words in truth.items() for key, word in words.items() if word and key not in stated[id]]
    cells = _read(filled_feed)
    filled = [(id, key) for id, key in empty if cells[id][key]]
    return Demo(
        drawn.feed,
        out / "catalog",
        bundle.path,
        predictions,
        filled_feed,
        out / "report" / "report.html",
        sheet,
        scores,
        quarantined=len(catalog.quarantine.filter(kind="photo")),
        empty=len(empty),
        filled=len(filled),
        filled_right=sum(cells[id][key] == truth[id][key] for id, key in filled),
    )


def _read(table: Path) -> Words:
    """Read a CSV as product id -> column -> cell."""
    rows = read_csv(table).fill_null("").iter_rows(named=True)
    return {row["id"]: {name: word for name, word in row.items() if name != "id"} for row in rows}


def _stated_keys(catalog: Catalog) -> dict[str, set[str]]:
    """The keys that the feed states for each product, right or wrong."""
    stated: dict[str, set[str]] = {id: {"category"} for id in catalog.ids}
    for id, key in catalog.labels.select("id", "key").iter_rows():
        stated[id].add(key)
    return stated


def _entry(catalog: Catalog, id: str, cells: Mapping[str, str], truth: Mapping[str, str], stated: set[str]) -> Entry:
    lines = []
    for key in ("category", *catalog.taxonomy.keys):
        if cells[key]:
            verdict: Verdict = "wrong" if cells[key] != truth[key] else "right" if key in stated else "filled"
            confidence = cells["category_confidence" if key == "category" else f"{key}__confidence"]
            text = cells[key] if key == "category" else f"{key}: {cells[key].replace(SEPARATOR, ', ')}"
            lines.append(Line(text, float(confidence), verdict))
    return Entry(catalog.photo_paths(catalog.rows_of([id]))[0][0], lines)
