"""Predictions for tests of the review page: made up, and written as `attire predict --format long` writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from attire.catalog.store import Catalog, Product
from attire.predict.output import SINKS, to_table
from attire.prediction import Abstained, Alternative, Answer, Prediction


def made_up(catalog: Catalog, number: int, product: Product) -> Prediction:
    """Mostly what the feed says; every fourth stated colour is contradicted, every other missing one left open."""
    colours, tags = (catalog.taxonomy.keys[key].values for key in ("colour", "tags"))
    attributes: dict[str, Answer | Abstained] = {}
    if stated := product.labels.get("colour"):
        said = stated[0] if number % 4 else colours[(colours.index(stated[0]) + 1) % len(colours)]
        others = tuple(Alternative(value, 0.02) for value in colours if value != said)
        attributes["colour"] = Answer((said,), 0.9 + number / 1000, others)
    elif number % 2:
        attributes["colour"] = Abstained("no value is sure enough", _ranked(colours))
    else:
        attributes["colour"] = Answer(colours[:1], 0.95, _ranked(colours)[1:])
    if product.category == "Shirts":
        attributes["tags"] = (
            Answer(product.labels["tags"], 0.93) if "tags" in product.labels else Abstained("unsure", _ranked(tags))
        )
    return Prediction(product.id, str(product.category), 0.98, (), attributes, "b" * 64)


def write_predictions(catalog: Catalog, out: Path, ids: Sequence[str] | None = None) -> Path:
    """Predictions of `ids`, or of all products."""
    outcomes = [(id, made_up(catalog, n, catalog[id]), ()) for n, id in enumerate(catalog.ids if ids is None else ids)]
    SINKS[out.suffix](to_table(outcomes, catalog.taxonomy, "long").lazy(), out)
    out.with_name(f"{out.name}.json").write_text(json.dumps({"precision": 0.95}))
    return out


def _ranked(values: Sequence[str]) -> tuple[Alternative, ...]:
    return tuple(Alternative(value, 0.6 / (place + 1)) for place, value in enumerate(values))
