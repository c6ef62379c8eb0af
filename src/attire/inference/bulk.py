"""Predictions for a whole catalog in a file: reading, decoding, computing and writing at the same time, resumable."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attire.bundle import ModelBundle, library_versions
from attire.catalog.sources import SourceOptions
from attire.engines.engine import AUTO, Engine, open_engine
from attire.errors import ConfigError, FeedError
from attire.files import LockedError, locked
from attire.inference.chunks import Chunks, Counts, Origin, RowBuilder, begun
from attire.inference.inputs import Products, read_products
from attire.inference.logits import BATCH
from attire.inference.output import Format, check_output
from attire.inference.run_record import Record, RunSettings, finished_record, kept, record_path, write_record
from attire.inference.single_machine import SingleMachine
from attire.score.calibration import PRECISION
from attire.storage import not_written

if TYPE_CHECKING:  # Ray is an extra
    from attire.inference.ray_cluster import RayCluster

CHUNK = 1000  # products between two saves
PHOTOS = "photos"  # below the chunks: what had to be fetched or unpacked
logger = logging.getLogger(__name__)


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
    overwrite: bool = False,
) -> Summary:
    """Predict every product of `source` (see `read_products`) into `out`: .parquet, .csv or .jsonl.

    Keys whose answer is not sure enough for `precision` stay empty; None fills every key that applies. A bundle that
    reads titles gets those of `source`. With `known_category` the categories that `source` states overrule the
    network's. Products whose photos cannot be read are in the output with the reason. Beside it stands `out.json` with
    what made it. `cluster` is "ray", or the address of a Ray cluster to compute on.

    A killed run goes on when it is called again; what it had done counts for the same bundle, options, products and
    photos. Where all of these have made `out` already, nothing is done. Raises `ConfigError` before computing for an
    output that cannot be written, that another process is writing, or, without `overwrite`, that holds anything else;
    `FeedError` for a feed that cannot be read.
    """
    bundle = ModelBundle.of(bundle)
    out, images = Path(out), [images] if isinstance(images, str | Path) else images
    check_output(out, format, bundle.taxonomy, [source, *images])
    bundle.check_precision(precision)
    compute = _compute(bundle, engine, batch_size, cluster)
    builder = RowBuilder(bundle, format, precision)
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
        with locked(out.with_name(f".{out.name}.lock")):
            return _write(out, folder, builder, compute, read, overwrite)
    except LockedError:
        raise ConfigError(
            f"another attire predict is writing {out}: wait until it has finished, or choose another --out."
        ) from None
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
    """Make the chunks in `folder` that are not there yet, and join them as `out`."""
    bundle = builder.bundle
    settings = RunSettings(
        attire=version("attire"),
        bundle=bundle.digest,
        engine=compute.name,
        format=builder.format,
        precision=builder.precision,
    )
    finished = None if overwrite or begun(folder, settings) else finished_record(out, settings)
    products = read()
    if finished is not None:
        _tidy(folder)
        return _already(out, finished, products)
    by_shard = compute.by_shard and bool(products.shards)
    chunks = Chunks(folder, CHUNK, lambda number: Origin(settings, _products_of(number, products, by_shard)))
    done = chunks.resume()
    compute(chunks, done, builder, products)
    counts = chunks.counts()
    if not counts.products:
        raise FeedError("no photo was found in the archives.")
    record_path(out).unlink(missing_ok=True)  # it is not of what comes now
    chunks.join(out)
    about = {"engine": compute.name, "versions": library_versions() | compute.versions} | _about(builder, counts)
    write_record(out, settings, products.digest(), about)
    shutil.rmtree(folder)
    return Summary(out, counts.products, counts.unread, Counts.total(done.values()).products)


def _compute(
    bundle: ModelBundle, engine: str | Engine, batch_size: int, cluster: str | None
) -> SingleMachine | RayCluster:
    """What computes; raises `ConfigError` for an engine that cannot travel to a cluster."""
    if cluster is None:
        return SingleMachine(open_engine(bundle, engine) if isinstance(engine, str) else engine, batch_size)
    if not isinstance(engine, str):
        raise ConfigError("an engine cannot travel to a cluster: give its name, as 'torch'.")
    from attire.inference.ray_cluster import RayCluster

    return RayCluster(cluster, engine, batch_size)


def _products_of(number: int, products: Products, by_shard: bool) -> str:
    """The digest of the products of a chunk: an archive, or so many in their order."""
    if by_shard:
        return products.digest(number, number + 1)
    if products.shards:  # only reading tells which archive a chunk's products are in
        return f"{number} of {CHUNK} each of {products.digest()}"
    return products.digest(number * CHUNK, (number + 1) * CHUNK)


def _tidy(folder: Path) -> None:
    """Remove what was fetched and unpacked; chunks made with other settings stay."""
    shutil.rmtree(folder / PHOTOS, ignore_errors=True)
    with suppress(OSError):
        folder.rmdir()


def _already(out: Path, record: Record, products: Products) -> Summary:
    """What the finished `out` holds; raises `ConfigError` where its products or photos are not those asked for."""
    if record.made_of != products.digest():
        raise kept(out, "is finished and holds other products, or was made from other photos, titles or categories")
    logger.info("%s is finished already, from the same bundle, options, products and photos: nothing is computed", out)
    return Summary(out, record.products, record.unread, record.products)


def _about(builder: RowBuilder, counts: Counts) -> dict[str, Any]:
    """What people want to know of an output."""
    bundle = builder.bundle
    return {
        "bundle": bundle.digest,
        "decision": bundle.decision.model_dump(),
        "precision": builder.precision if bundle.calibration else None,
        "recipe": bundle.provenance.get("recipe", {}).get("name"),
        "products": counts.products,
        "known_categories": counts.known,
        "titles": counts.titled if bundle.title_reader else 0,
        "unread": counts.unread,
    }
