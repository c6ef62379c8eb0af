"""Predictions for a whole catalog in a file: reading, decoding, computing and writing at the same time, resumable."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from attire.bundle import ModelBundle, library_versions
from attire.catalog.sources import SourceOptions
from attire.errors import ConfigError, FeedError
from attire.predict.decode import ProductPhotos
from attire.predict.engines import AUTO, Engine, open_engine
from attire.predict.inputs import read_products
from attire.predict.logits import BATCH, ProductLogits, stream, tracked
from attire.predict.output import Format, check_output
from attire.predict.parts import Answering, Counts, Parts, encoded
from attire.score.calibration import PRECISION

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
    cluster: str | None = None,
) -> Summary:
    """Predict every product of `source` (see `read_products`) into `out`: .parquet, .csv or .jsonl.

    Keys whose answer is not sure enough for `precision` stay empty; None fills every key that applies. A bundle that
    reads titles gets those of `source`. With `known_category` the categories that `source` states overrule the
    network's. Products whose photos cannot be read are in the output with the reason. Beside it stands `out.json` with
    what made it. `cluster` is "ray", or the address of a Ray cluster that shares the work. Raises before any work for
    an output that cannot be written, `FeedError` for a feed that cannot be read.
    """
    bundle = bundle if isinstance(bundle, ModelBundle) else ModelBundle.load(bundle)
    out = Path(out)
    check_output(out, format, bundle.taxonomy)
    if precision is not None and bundle.calibration:
        bundle.calibration.check(precision)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        parts = Parts(out.with_name(f"{out.name}.parts"))
        products = read_products(
            source,
            [images] if isinstance(images, str | Path) else images,
            feed_source=feed_source,
            options=options,
            split=split,
            scratch=parts.folder / "photos",
            categories_of=bundle.taxonomy if known_category else None,
        )
        answering = Answering(bundle, format, precision)
        if isinstance(engine, str) and cluster is None:
            engine = open_engine(bundle, engine)
        name = engine if isinstance(engine, str) else engine.name
        work = f"{bundle.digest} {name} {format} {precision} {PART} {products.digest}"
        done = parts.resume(f"{work} by shard" if cluster and products.shards else work)
        if cluster is None:
            assert not isinstance(engine, str)
            todo = _without(products, done)
            found = stream(engine, bundle.preprocess, todo, batch_size, bundle.title_reader)
            made = _write(parts, answering, tracked(found, products.total, Counts.total(done.values()).products), done)
        else:
            from attire.predict.cluster import predict_on_ray

            if not isinstance(engine, str):
                raise ConfigError("an engine cannot travel to a cluster: give its name, as 'torch'.")
            made = predict_on_ray(cluster, parts, done, answering, products, engine, batch_size, PART)
        return _finish(parts, out, answering, name, Counts.total(done.values()), Counts.total(made))
    except OSError as error:
        raise ConfigError(
            f"cannot write {out}: {error.strerror or error}. Free space or choose another --out; what was done is kept."
        ) from error


def _without(products: Iterable[ProductPhotos], done: Container[int]) -> Iterator[ProductPhotos]:
    """The products whose parts are not there yet."""
    return (product for number, product in enumerate(products) if number // PART not in done)


def _write(parts: Parts, answering: Answering, answers: Iterator[ProductLogits], done: Container[int]) -> list[Counts]:
    """Decide and save part after part, while the next one is being computed."""
    missing = (number for number in count() if number not in done)
    made: list[Counts] = []

    def save(number: int, found: Sequence[ProductLogits]) -> None:
        counts = Counts.of(found)
        parts.add(number, encoded(answering.table(found), counts))
        made.append(counts)

    with ThreadPoolExecutor(1, "write") as writer:
        saved: Future[None] | None = None
        while found := list(islice(answers, PART)):
            if saved is not None:
                saved.result()
            saved = writer.submit(save, next(missing), found)
        if saved is not None:
            saved.result()
    return made


def _finish(parts: Parts, out: Path, answering: Answering, engine: str, resumed: Counts, made: Counts) -> Summary:
    counts = Counts.total([resumed, made])
    bundle = answering.bundle
    if not counts.products:
        raise FeedError("no photo was found in the archives.")
    about = {
        "bundle": bundle.digest,
        "engine": engine,
        "decision": bundle.decision.model_dump(),
        "precision": answering.precision if bundle.calibration else None,
        "recipe": bundle.provenance.get("recipe", {}).get("name"),
        "products": counts.products,
        "known_categories": counts.known,
        "titles": counts.titled if bundle.title_reader else 0,
        "unread": counts.unread,
        "versions": library_versions(),
    }
    parts.finish(out, about)
    return Summary(out, counts.products, counts.unread, resumed.products)
