"""Bulk prediction: every product of a folder, feed or catalog into one file. An interrupted run can be resumed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attire.bundle import ModelBundle
from attire.catalog.sources import SourceOptions
from attire.engines.engine import AUTO, Engine, open_engine
from attire.errors import ConfigError, FeedError
from attire.files import locked
from attire.inference.chunks import Chunks, Counts, Origin, RowBuilder, has_chunks
from attire.inference.inputs import Products, read_products
from attire.inference.logits import BATCH
from attire.inference.output import Format, check_output
from attire.inference.run_record import Record, RunSettings, finished_record, overwrite_error, record_path, write_record
from attire.inference.single_machine import SingleMachine
from attire.probe import library_versions
from attire.score.answer_counts import AnswerCounts
from attire.score.drift import Drift, find_drift
from attire.score.promise import PRECISION, Promise
from attire.storage import not_written

if TYPE_CHECKING:  # Ray is an extra
    from attire.inference.ray_cluster import RayCluster

CHUNK = 1000  # products per chunk
PHOTOS = "photos"  # subfolder for downloaded and unpacked photos
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Summary:
    """Product counts of a bulk prediction.

    unread: products without a readable photo, which have no answer; resumed: products that an earlier run predicted;
    answers: what the model answered, and drift: how that compares with its calibration; both are None if an earlier
    attire made the output, and drift without a calibration.
    """

    out: Path
    products: int
    unread: int
    resumed: int
    answers: AnswerCounts | None = field(default=None, compare=False, repr=False)
    drift: Drift | None = field(default=None, compare=False, repr=False)


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
    precision: Promise | float | None = PRECISION,
    known_category: bool = False,
    engine: str | Engine = AUTO,
    batch_size: int = BATCH,
    cluster: str | None = None,
    overwrite: bool = False,
) -> Summary:
    """Predict every product of `source` (see `read_products`) into `out`: .parquet, .csv or .jsonl.

    A key is filled if its answer is confident enough for `precision` and left open otherwise; None fills every key that
    applies. A bundle that reads titles reads those of `source`. With `known_category` the categories in `source`
    replace the predicted ones. A product without a readable photo has a row with the reason. The bundle, options and
    counts are recorded next to the output, in `out`.json. `cluster` is "ray" or the address of a Ray cluster.

    A killed run resumes when it is called again with the same bundle, options, products and photos; a finished run does
    nothing. Raises `ConfigError`, before anything is computed, if `out` cannot be written, is being written by another
    process, or exists and was made from anything else (unless `overwrite`), and `FeedError` if the feed cannot be read.
    """
    bundle = ModelBundle.of(bundle)
    out, images = Path(out), [images] if isinstance(images, str | Path) else images
    check_output(out, format, bundle.taxonomy, [source, *images])
    promise = None if precision is None else Promise.of(precision)
    bundle.check_promise(promise)
    compute = _compute(bundle, engine, batch_size, cluster)
    builder = RowBuilder(bundle, format, promise)
    folder = out.with_name(f"{out.name}.chunks")

    def read() -> Products:
        return read_products(
            source,
            images,
            feed_source=feed_source,
            options=options,
            split=split,
            scratch=folder / PHOTOS,
            categories_of=bundle.taxonomy if known_category else None,
        )

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        busy = f"another attire predict is writing {out}: wait until it is done, or choose another --out."
        with locked(out.with_name(f".{out.name}.lock"), ConfigError(busy)):
            return _write(out, folder, builder, compute, read, overwrite)
    except OSError as error:
        raise ConfigError(not_written(str(out), error)) from error


def _write(
    out: Path,
    folder: Path,
    builder: RowBuilder,
    compute: SingleMachine | RayCluster,
    read: Callable[[], Products],
    overwrite: bool,
) -> Summary:
    """Compute the chunks that `folder` lacks, and join all of them into `out`."""
    bundle = builder.bundle
    settings = RunSettings(
        attire=version("attire"),
        bundle=bundle.digest,
        engine=compute.name,
        format=builder.format,
        promise=builder.promise,
    )
    finished = None if overwrite or has_chunks(folder, settings) else finished_record(out, settings)
    products = read()
    if finished is not None:
        _clean_up(folder)
        return _finished_summary(out, finished, products, builder)
    by_shard = compute.by_shard and bool(products.shards)
    chunks = Chunks(folder, CHUNK, lambda number: Origin(settings, _products_digest(number, products, by_shard)))
    done = chunks.resume()
    compute(chunks, done, builder, products)
    counts = chunks.counts()
    if not counts.products:
        raise FeedError("no photo was found in the archives. Expected .jpg, .png or .webp files in them.")
    record_path(out).unlink(missing_ok=True)  # it describes the previous output
    chunks.join(out)
    answers = chunks.answers(bundle.taxonomy)
    drift = _drift(builder, answers)
    facts = {
        "engine": compute.name,
        "versions": library_versions() | compute.versions,
        **_facts(builder, counts),
        "drift": None if drift is None else drift.facts(),
    }
    write_record(out, settings, products.digest(), answers, facts)
    shutil.rmtree(folder)
    return Summary(out, counts.products, counts.unread, Counts.total(done.values()).products, answers, drift)


def _compute(
    bundle: ModelBundle, engine: str | Engine, batch_size: int, cluster: str | None
) -> SingleMachine | RayCluster:
    """This machine or the cluster; raises `ConfigError` for an engine object, which cannot be sent to a cluster."""
    if cluster is None:
        return SingleMachine(open_engine(bundle, engine) if isinstance(engine, str) else engine, batch_size)
    if not isinstance(engine, str):
        raise ConfigError("an engine object cannot be sent to a cluster: expected its name, for example 'torch'.")
    from attire.inference.ray_cluster import RayCluster

    return RayCluster(cluster, engine, batch_size)


def _products_digest(number: int, products: Products, by_shard: bool) -> str:
    """The digest of the products in a chunk: those of one shard, or the next `CHUNK` products."""
    if by_shard:
        return products.digest(number, number + 1)
    if products.shards:  # which shard a chunk's products are in is only known after reading
        return f"{number} of {CHUNK} each of {products.digest()}"
    return products.digest(number * CHUNK, (number + 1) * CHUNK)


def _clean_up(folder: Path) -> None:
    """Remove downloaded and unpacked photos; chunks made with other settings stay."""
    shutil.rmtree(folder / PHOTOS, ignore_errors=True)
    with suppress(OSError):
        folder.rmdir()


def _drift(builder: RowBuilder, answers: AnswerCounts) -> Drift | None:
    """How the answers compare with those at calibration."""
    reference = builder.bundle.reference(builder.promise)
    return None if reference is None else find_drift(reference, answers)


def _finished_summary(out: Path, record: Record, products: Products, builder: RowBuilder) -> Summary:
    """The summary of a finished `out`; raises `ConfigError` if it was made from other products or photos."""
    if record.made_of != products.digest():
        raise overwrite_error(out, "was made from other products, photos, titles or categories")
    logger.info("%s is already finished with the same bundle, options, products and photos: nothing to compute", out)
    answers = None if record.answers is None else record.answers.counts()
    drift = None if answers is None else _drift(builder, answers)
    return Summary(out, record.products, record.unread, record.products, answers, drift)


def _facts(builder: RowBuilder, counts: Counts) -> dict[str, Any]:
    """The entries of the record that are for people."""
    bundle = builder.bundle
    return {
        "bundle": bundle.digest,
        "decision": bundle.decision.model_dump(),
        "precision": builder.promise.precision if bundle.calibration and builder.promise else None,
        "recipe": bundle.provenance.get("recipe", {}).get("name"),
        "products": counts.products,
        "known_categories": counts.known,
        "titles": counts.titled if bundle.title_reader else 0,
        "unread": counts.unread,
    }
