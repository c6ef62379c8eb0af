"""Predictions for a whole catalog in a file: reading, decoding, computing and writing at the same time, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attire.bundle import ModelBundle, library_versions
from attire.catalog.sources import SourceOptions
from attire.errors import ConfigError, FeedError
from attire.predict.engines import AUTO, Engine, open_engine
from attire.predict.inputs import read_products
from attire.predict.local import Local
from attire.predict.logits import BATCH
from attire.predict.output import Format, check_output
from attire.predict.parts import Answering, Counts, Parts
from attire.score.calibration import PRECISION

if TYPE_CHECKING:  # Ray is an extra
    from attire.predict.cluster import OnRay

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
        parts = Parts(out.with_name(f"{out.name}.parts"), PART)
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
        compute: Local | OnRay
        if cluster is None:
            compute = Local(open_engine(bundle, engine) if isinstance(engine, str) else engine, batch_size)
        elif not isinstance(engine, str):
            raise ConfigError("an engine cannot travel to a cluster: give its name, as 'torch'.")
        else:
            from attire.predict.cluster import OnRay

            compute = OnRay(cluster, engine, batch_size)
        work = f"{bundle.digest} {compute.name} {format} {precision} {PART} {products.digest()}"
        done = parts.resume(f"{work} by shard" if compute.by_shard and products.shards else work)
        made = compute(parts, done, answering, products)
        about = {"engine": compute.name, "versions": library_versions() | compute.versions}
        return _finish(parts, out, answering, about, Counts.total(done.values()), Counts.total(made))
    except OSError as error:
        raise ConfigError(
            f"cannot write {out}: {error.strerror or error}. Free space or choose another --out; what was done is kept."
        ) from error


def _finish(
    parts: Parts, out: Path, answering: Answering, about: dict[str, Any], resumed: Counts, made: Counts
) -> Summary:
    counts = Counts.total([resumed, made])
    bundle = answering.bundle
    if not counts.products:
        raise FeedError("no photo was found in the archives.")
    about |= {
        "bundle": bundle.digest,
        "decision": bundle.decision.model_dump(),
        "precision": answering.precision if bundle.calibration else None,
        "recipe": bundle.provenance.get("recipe", {}).get("name"),
        "products": counts.products,
        "known_categories": counts.known,
        "titles": counts.titled if bundle.title_reader else 0,
        "unread": counts.unread,
    }
    parts.finish(out, about)
    return Summary(out, counts.products, counts.unread, resumed.products)
