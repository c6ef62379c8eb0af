"""Bulk prediction on a Ray cluster: actors run the same pipeline, with one task per chunk.

Nodes need attire and access to the photos (a shared file system or URLs). The bundle and the finished chunks are passed
through Ray's object store. If a node dies, its tasks run again on another one; chunks are numbered, so none is lost or
written twice.
"""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.engines.engine import open_engine
from attire.errors import AttireError, ConfigError, MissingExtraError
from attire.inference.chunks import Chunks, Counts, RowBuilder, encode
from attire.inference.logits import stream
from attire.inference.output import Format
from attire.inference.product_logits import LogitsTable
from attire.progress import tracking
from attire.score.answer_counts import AnswerCounts
from attire.score.promise import Promise

if TYPE_CHECKING:  # actors need not import the catalog reader
    from attire.inference.inputs import Products

LOCAL = "ray"  # the cluster at RAY_ADDRESS, or a new one on this machine


@dataclass(frozen=True, slots=True)
class RayCluster:
    """Computes chunks on a cluster. Every actor opens the engine `name`."""

    address: str
    name: str
    batch_size: int
    by_shard: ClassVar = True  # one chunk per shard

    @property
    def versions(self) -> dict[str, str]:
        """The version of Ray; the engines' runtimes are those of the nodes."""
        return {"ray": version("ray")}

    def __call__(self, chunks: Chunks, done: Mapping[int, Counts], builder: RowBuilder, products: Products) -> None:
        """Compute the chunks that are not `done`; they are saved in the order in which they are finished.

        Raises `ConfigError` if the cluster cannot be reached.
        """
        try:
            import ray
        except ImportError:
            raise MissingExtraError("attire predict --cluster", "cluster") from None
        todo = [
            {"number": number, "unit": pickle.dumps((chunks.origin(number), unit))}
            for number, unit in _units(products, chunks.size)
            if number not in done
        ]
        earlier = Counts.total(done.values()).products
        with _connected(self.address), tracking("predicting", products.total, "products", done=earlier) as tracker:
            try:
                for row in self._results(todo, builder, products, chunks.size) if todo else ():
                    chunks.add(row["number"], row["chunk"])
                    tracker.advance(row["products"])
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error.__cause__
                raise (
                    cause
                    if isinstance(cause, AttireError)
                    else ConfigError(
                        f"the Ray cluster failed: {error}. Finished chunks are saved: run the command again."
                    )
                ) from error
        if products.shards:  # each actor saw one of them only
            chunks.make_ids_unique(products.shards)

    def _results(
        self, todo: Sequence[Mapping[str, Any]], builder: RowBuilder, products: Products, size: int
    ) -> Iterator[Mapping[str, Any]]:
        """Yield each chunk as soon as an actor has computed it."""
        import ray

        arguments = {
            "files": ray.put(_files(builder.bundle.path)),
            "products": ray.put(products.of_shards),
            "format": builder.format,
            "promise": None if builder.promise is None else builder.promise.model_dump(),
            "engine": self.name,
            "batch_size": self.batch_size,
            "size": size,
        }
        resources = ray.cluster_resources()
        device = "GPU" if resources.get("GPU") else "CPU"
        actors = max(1, min(len(todo), int(resources.get(device, 1))))
        results = ray.data.from_items(todo, override_num_blocks=len(todo)).map_batches(
            _Actor,
            fn_constructor_kwargs={"arguments": arguments},
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=1 if device == "CPU" else None,
            num_gpus=1 if device == "GPU" else None,
        )
        yield from results.iter_rows()


class _Actor:
    """Holds a bundle and its engine, and computes chunks."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        import ray

        with tempfile.TemporaryDirectory(prefix="attire-bundle-") as folder:
            for name, content in ray.get(arguments["files"]).items():
                file = Path(folder, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            bundle = ModelBundle.load(folder)
            self.engine, self.batch_size = open_engine(bundle, arguments["engine"]), arguments["batch_size"]
        format: Format = arguments["format"]
        promise = arguments["promise"]
        self.builder = RowBuilder(bundle, format, None if promise is None else Promise.model_validate(promise))
        self.size = arguments["size"]
        self.of_shards = ray.get(arguments["products"])

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, list[Any]]:
        """Compute the chunk of the only row in `batch`."""
        origin, unit = pickle.loads(batch["unit"][0])  # noqa: S301  (from Ray, not from a file)
        products = self.of_shards([unit]) if isinstance(unit, str) else unit
        bundle = self.builder.bundle
        answers = stream(self.engine, bundle.preprocess, products, self.batch_size, bundle.title_reader)
        tables: list[pl.DataFrame] = []
        counts, given = Counts.total([]), AnswerCounts.none(bundle.taxonomy)
        while (logits := LogitsTable.take(answers, self.size, bundle.taxonomy)) or not tables:  # a shard may be empty
            tables.append(self.builder.rows(logits))
            counts, given = Counts.total([counts, Counts.of(logits)]), given + self.builder.counts(logits)
        chunk = encode(pl.concat(tables), origin, counts, given)
        return {"number": [int(batch["number"][0])], "chunk": [chunk], "products": [counts.products]}


def _units(products: Products, size: int) -> Iterator[tuple[int, Any]]:
    """Yield the number of each chunk with its input: the name of a shard, or a list of products."""
    if products.shards:
        yield from enumerate(products.shards)
        return
    remaining = iter(products)
    for number in count():
        unit = list(islice(remaining, size))
        if not unit:
            return
        yield number, unit


def _files(folder: Path) -> dict[str, bytes]:
    """The content of every file of a bundle, by its path in the folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def _connected(cluster: str) -> Iterator[None]:
    """Connect to the cluster, or start one on this machine for the duration of the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    import ray.data

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "local") if cluster == LOCAL else cluster
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        options["include_dashboard"] = False
    try:
        ray.init(address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"cannot connect to a Ray cluster at '{address}': {error}. Expected --cluster ray, or an address such as "
            "ray://HOST:10001."
        ) from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()
