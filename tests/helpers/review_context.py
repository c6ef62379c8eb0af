"""Invented predictions for tests of the review page, in the long format of `attire predict`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from attire.catalog.store import Catalog, Product
from attire.inference.output import LONG, SINKS
from attire.prediction import Abstained, Alternative, Answer, Prediction
from attire.review.app import open_review
from attire.review.context import ReviewContext
from attire.review.options import Options
from attire.taxonomy import SEPARATOR, Taxonomy


def invented(catalog: Catalog, number: int, product: Product) -> Prediction:
    """Mostly the feed's labels; every fourth stated colour is contradicted, every other unknown one is left open."""
    colours, tags = (catalog.taxonomy.keys[key].values for key in ("colour", "tags"))
    attributes: dict[str, Answer | Abstained] = {}
    if stated := product.labels.get("colour"):
        colour = stated[0] if number % 4 else colours[(colours.index(stated[0]) + 1) % len(colours)]
        others = tuple(Alternative(value, 0.02) for value in colours if value != colour)
        attributes["colour"] = Answer((colour,), 0.9 + number / 1000, others)
    elif number % 2:
        attributes["colour"] = Abstained("no value is sure enough", _ranked(colours))
    else:
        attributes["colour"] = Answer(colours[:1], 0.95, _ranked(colours)[1:])
    if product.category == "Shirts":
        attributes["tags"] = (
            Answer(product.labels["tags"], 0.93) if "tags" in product.labels else Abstained("unsure", _ranked(tags))
        )
    return Prediction(product.id, str(product.category), 0.98, (), attributes, "b" * 64)


def make_context(catalog: Catalog, folder: Path) -> ReviewContext:
    """A context with predictions of all products and a new store, both in `folder`."""
    predictions = write_predictions(catalog, folder / "p.parquet")
    return open_review(catalog.path, Options(predictions=predictions, store=str(folder / "s.sqlite"), audit=30))


def write_predictions(catalog: Catalog, out: Path, ids: Sequence[str] | None = None) -> Path:
    """Write predictions of `ids`, or of all products, and return the file."""
    predictions = [invented(catalog, n, catalog[id]) for n, id in enumerate(catalog.ids if ids is None else ids)]
    rows = [row for prediction in predictions for row in _rows(prediction, catalog.taxonomy)]
    SINKS[out.suffix](pl.LazyFrame(rows, schema=LONG), out)
    out.with_name(f"{out.name}.json").write_text(json.dumps({"precision": 0.95}))
    return out


def _rows(prediction: Prediction, taxonomy: Taxonomy) -> Iterator[dict[str, Any]]:
    """Yield a row for each key."""
    for key in taxonomy.keys:
        row: dict[str, Any] = {"id": prediction.id, "category": prediction.category, "key": key}
        row["category_confidence"] = prediction.category_confidence
        answer = prediction.attributes.get(key)
        if answer is None:
            yield {**row, "reason": "not applicable"}
            continue
        row["alternatives"] = json.dumps([asdict(alternative) for alternative in answer.alternatives])
        if isinstance(answer, Answer):
            yield {**row, "values": SEPARATOR.join(answer.values), "confidence": answer.confidence}
        else:
            yield {**row, "reason": f"abstained: {answer.reason}"}


def _ranked(values: Sequence[str]) -> tuple[Alternative, ...]:
    return tuple(Alternative(value, 0.6 / (place + 1)) for place, value in enumerate(values))
