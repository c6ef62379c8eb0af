"""Predictions for a whole catalog in a file, in parts, so that a killed run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from attire.bundle import ModelBundle, library_versions
from attire.catalog.sources import SourceOptions
from attire.catalog.store import replace_text
from attire.errors import ConfigError
from attire.predict.engines import AUTO, Engine, open_engine
from attire.predict.inputs import read_products
from attire.predict.logits import BATCH, ProductLogits, ProductPhotos, stream, tracked
from attire.predict.output import SINKS, Format, Outcome, check_output, to_table
from attire.prediction import Prediction
from attire.score.calibration import PRECISION
from attire.score.decisions import prediction

PART = 1000  # products between two saves


@dataclass(frozen=True, slots=True)
class Summary:
    """What a bulk prediction did. `unread` products have no answer; `resumed` ones were done by an earlier run."""

    out: Path
    products: int
    unread: int
    resumed: int


def predict(
    bundle: ModelBundle | str | Path,
    source: str | Path,
    out: str | Path,
    *,
    images: str | Path | Sequence[str | Path] = (),
    feed_source: str = "table",
    options: SourceOptions | None = None,
    split: str | None = None,
    format: Format = "wide",
    precision: float | None = PRECISION,
    known_category: bool = False,
    engine: str | Engine = AUTO,
    batch_size: int = BATCH,
) -> Summary:
    """Predict every product of `source` (see `read_products`) into `out`: .parquet, .csv or .jsonl.

    Keys whose answer is not sure enough for `precision` stay empty; None fills every key that applies. A bundle that
    reads titles gets those of `source`. With `known_category` the categories that `source` states overrule the
    network's. Products whose photos cannot be read are in the output with the reason. Beside it stands `out`.json with
    what made it. Raises before any work for an output that cannot be written, `FeedError` for a feed that cannot be
    read.
    """
    bundle = bundle if isinstance(bundle, ModelBundle) else ModelBundle.load(bundle)
    out = Path(out)
    check_output(out, format, bundle.taxonomy)
    if precision is not None and bundle.calibration:
        bundle.calibration.check(precision)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        parts = out.with_name(f"{out.name}.parts")
        parts.mkdir(exist_ok=True)
        several = [images] if isinstance(images, str | Path) else images
        products = read_products(
            Path(source),
            several,
            feed_source=feed_source,
            options=options,
            split=split,
            unpack_to=parts / "photos",
            categories_of=bundle.taxonomy if known_category else None,
        )
        done = _resume(parts, _fingerprint(bundle, products, format, precision))
        runner = open_engine(bundle, engine) if isinstance(engine, str) else engine
        todo = products[done * PART :]
        found = stream(runner, bundle.preprocess, todo, batch_size, bundle.title_reader)
        answers = tracked(found, len(products), done * PART)
        known = {product.id: product.category for product in products if product.category is not None}
        while batch := list(islice(answers, PART)):
            part = parts / f"{done:06d}.parquet"
            to_table(_outcomes(bundle, batch, known, precision), bundle.taxonomy, format).write_parquet(
                part.with_suffix(".tmp")
            )
            part.with_suffix(".tmp").replace(part)
            done += 1
        return _finish(parts, out, bundle, products, precision, resumed=len(products) - len(todo))
    except OSError as error:
        raise ConfigError(
            f"cannot write {out}: {error.strerror or error}. Free space or choose another --out; what was done is kept."
        ) from error


def _outcomes(
    bundle: ModelBundle, found: Sequence[ProductLogits], known: Mapping[str, str], precision: float | None
) -> list[Outcome]:
    """Decide for all products with logits at once; `known` are the categories that need no decision."""
    answered = [product for product in found if product.category is not None]
    predictions: dict[str, Prediction] = {}
    if answered:
        category = np.stack([product.category for product in answered if product.category is not None])
        attributes = np.stack([product.attributes for product in answered if product.attributes is not None])
        index = bundle.taxonomy.category_index
        stated = np.array([index[known[product.id]] if product.id in known else -1 for product in answered])
        decisions = bundle.decide(category, attributes, stated)
        accepted = bundle.accepted(decisions, precision)
        for row, product in enumerate(answered):
            predictions[product.id] = prediction(bundle.taxonomy, decisions, accepted, row, product.id, bundle.digest)
    return [(product.id, predictions.get(product.id), product.faults) for product in found]


def _fingerprint(
    bundle: ModelBundle, products: Sequence[ProductPhotos], format: Format, precision: float | None
) -> str:
    """What the parts must have been made from to be of use."""
    content = hashlib.sha256(f"{bundle.digest} {format} {precision} {PART}".encode())
    for product in products:
        photos = [str(photo) for photo in product.photos]
        content.update(json.dumps([product.id, photos, product.faults, product.title, product.category]).encode())
    return content.hexdigest()


def _resume(parts: Path, fingerprint: str) -> int:
    """The number of parts that an earlier run of the same work has left; parts of other work are removed."""
    record = parts / "work.json"
    if record.is_file() and json.loads(record.read_text(encoding="utf-8")) == fingerprint:
        return len(list(parts.glob("*.parquet")))
    for part in parts.glob("*.parquet"):
        part.unlink()
    replace_text(record, json.dumps(fingerprint))
    return 0


def _finish(
    parts: Path,
    out: Path,
    bundle: ModelBundle,
    products: Sequence[ProductPhotos],
    precision: float | None,
    resumed: int,
) -> Summary:
    """Put the parts together, streaming, and remove them."""
    rows = pl.scan_parquet(sorted(parts.glob("*.parquet")))
    unread = rows.filter(pl.col("category").is_null()).select(pl.len()).collect().item()
    temporary = parts / f"whole{out.suffix}"
    SINKS[out.suffix.lower()](rows, temporary)
    about = {
        "bundle": bundle.digest,
        "decision": bundle.decision.model_dump(),
        "precision": precision if bundle.calibration else None,
        "recipe": bundle.provenance.get("recipe", {}).get("name"),
        "products": len(products),
        "known_categories": sum(product.category is not None for product in products),
        "titles": sum(bool(product.title) for product in products) if bundle.title_reader else 0,
        "unread": unread,
        "versions": library_versions(),
    }
    temporary.replace(out)
    replace_text(out.with_name(f"{out.name}.json"), json.dumps(about, indent=1))
    shutil.rmtree(parts)
    return Summary(out, len(products), unread, resumed)
