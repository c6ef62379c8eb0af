"""Kill every verb with SIGKILL at moments spread over its run, run it again, and check that the result is unaffected.

python benchmarks/kills.py [--moments 10] [--products 90] [--only ingest predict ...] [--json FILE]

Works on a drawn catalog, with each run in its own process. Results are compared by: for `ingest`, the digest and the
bytes of every table; for `predict`, the bytes of the file; for `evaluate`, those of every file; for `train`, weights,
probe and bundle.json except the time; for `export`, the graph and the compared answers; for `fill`, the filled feed and
its report; for `review apply` and `remove purge`, the catalog, and after the purge the files that name the products and
the photos that are left. Right after a kill, the output
must be the finished result, or the earlier output, or not look finished. For `review`, every acknowledged decision must
be stored after the kill, and the final decisions must be equal. Exits with status 1 if anything differs.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import socket
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from threading import Timer
from typing import Annotated, Any

import cyclopts
import httpx
import polars as pl
from cyclopts import Parameter
from rich.console import Console
from support.common import Row, report

from attire.bundle import SPEC, ModelBundle
from attire.catalog import photo_facts
from attire.catalog.commit import PURGE
from attire.catalog.ingest import ingest
from attire.catalog.splits import Splits, split
from attire.catalog.store import Catalog, read_manifest
from attire.config import load_recipe
from attire.demo.draw import draw_catalog
from attire.engines.exported import RECORD, engine_folder
from attire.errors import AttireError
from attire.evaluation.evaluate import evaluate
from attire.evaluation.report import SCORES
from attire.exporting.export import export
from attire.files import file_sha256
from attire.filling.fill import fill
from attire.inference import bulk
from attire.inference.bulk import predict
from attire.inference.run_record import record_path
from attire.pixels.photo_cache import cache_photos
from attire.removal.remove import remove
from attire.review.app import open_review, review_app, serve
from attire.review.apply import apply_reviews
from attire.review.options import Options
from attire.review.store.events import STORE, Store, Verdict
from attire.training.run import train

SMALL = {
    "backbone": "resnet10t",
    "pooling": "last",
    "flip": False,
    "trunk": 0,
    "colour": 0,
    "head": "mlp",
    "hidden": 64,
    "size_px": (64, 48),
    "batch_size": 16,
}
SAVE = 20  # photos or products per chunk, so that a small run has several
TRIES = 5  # attempts to kill a run before it ends, if it is faster than the measured run
DECISIONS = 100
PURGED = 9  # one of so many products is purged
READY_S = 60.0
CONTEXT = multiprocessing.get_context("forkserver")
# Imported once for all processes. Without polars: it starts threads on import, and a fork would deadlock on them.
SHARED = [
    "attire.pixels.torchvision_ops",
    "timm",
    "lightning",
    "sklearn",
    "onnxscript",
    "altair",
    "fastapi",
    "alembic.command",
]
Result = Mapping[str, str]  # digests that identify a result; empty if nothing looks finished


@dataclass(frozen=True, slots=True)
class Shop:
    """The inputs of the verbs, in one folder."""

    folder: Path

    @property
    def feed(self) -> Path:
        return self.folder / "shop" / "feed.csv"

    @property
    def half(self) -> Path:
        return self.folder / "shop" / "half.csv"

    @property
    def rest(self) -> Path:
        return self.folder / "shop" / "rest.csv"

    @property
    def photos(self) -> Path:
        return self.folder / "shop" / "photos"

    @property
    def catalog(self) -> Path:
        return self.folder / "catalog"

    @property
    def bundle(self) -> Path:
        return self.folder / "run" / "bundle"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions.parquet"


def _ingest(shop: Shop, out: Path) -> None:
    ingest(shop.feed, shop.photos, out / "catalog")


def _ingest_half(shop: Shop, out: Path) -> None:
    ingest(shop.half, shop.photos, out / "catalog")


def _update(shop: Shop, out: Path) -> None:
    ingest(shop.rest, shop.photos, out / "catalog", update=True)


def _tables(out: Path) -> Result:
    try:
        digest = Catalog.load(out / "catalog").digest
    except AttireError:
        return {}
    manifest = read_manifest(out / "catalog")
    assert manifest is not None
    return {"digest": digest, **manifest.tables}


def _predict(shop: Shop, out: Path) -> None:
    predict(shop.bundle, shop.photos, out / "p.csv", format="long", engine="torch", batch_size=8)


def _rows(out: Path) -> Result:
    file = out / "p.csv"
    return {file.name: file_sha256(file)} if record_path(file).exists() else {}


def _evaluate(shop: Shop, out: Path) -> None:
    evaluate(ModelBundle.load(shop.bundle), Catalog.load(shop.catalog), "val", out=out / "report")


def _report(out: Path) -> Result:
    return _files(out / "report", "[!.]*") if (out / "report" / SCORES).is_file() else {}


def _train(shop: Shop, out: Path) -> None:
    catalog = Catalog.load(shop.catalog)
    stages = {"category": {"epochs": 1, "lr": 2e-3}, "attributes": {"epochs": 2, "lr": 2e-3}}
    recipe = load_recipe("base", {**SMALL, **stages})
    train(catalog, Splits.load(catalog), recipe=recipe, out=out / "run", weights="none", resume=True, workers=0)


def _weights(out: Path) -> Result:
    spec = out / "run" / "bundle" / SPEC
    if not spec.is_file():
        return {}
    content = json.loads(spec.read_text(encoding="utf-8")) | {"created": ""}
    return {SPEC: json.dumps(content), **_files(spec.parent, "*.safetensors")}


def _copy_bundle(shop: Shop, out: Path) -> None:
    shutil.copytree(shop.bundle, out / "bundle")


def _export(shop: Shop, out: Path) -> None:
    export(out / "bundle", "onnx", shop.catalog)


def _graph(out: Path) -> Result:
    record = engine_folder(out / "bundle", "onnx") / RECORD
    if not record.is_file():
        return {}
    content = json.loads(record.read_text(encoding="utf-8"))
    return {name: json.dumps(content[name]) for name in ("bundle", "sha256", "parity")}


def _files(folder: Path, pattern: str) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(folder.glob(pattern))}


def _nothing(_shop: Shop, out: Path) -> None:
    out.mkdir()


def _fill(shop: Shop, out: Path) -> None:
    filled = out / "filled.csv"
    fill(shop.bundle, shop.feed, filled, images=shop.photos, engine="torch", batch_size=8, overwrite=filled.exists())


def _filled(out: Path) -> Result:
    return _files(out, "filled*.csv") if (out / "filled.csv").exists() else {}


def _review(shop: Shop, out: Path) -> None:
    """A catalog with photos from an archive, a photo cache, two versions and decisions."""
    out.mkdir()
    with tarfile.open(out / "photos.tar", "w") as tar:
        tar.add(shop.photos, ".")
    for feed in (shop.half, shop.rest):
        catalog = ingest(feed, out / "photos.tar", out / "catalog", update=True)
    split(catalog, val=0.3, seed=1)
    cache_photos(catalog, 32)
    store = Store(out / "catalog" / STORE)
    fields = catalog.labels.unique(["id", "key"], maintain_order=True).head(DECISIONS).iter_rows()
    store.decide("Ann", [Verdict(id, key, "clear", (), 0) for id, key, _ in fields])
    store.close()


def _apply(_shop: Shop, out: Path) -> None:
    apply_reviews(out / "catalog")


def _purge(_shop: Shop, out: Path) -> None:
    catalog = Catalog.verified(out / "catalog")
    ids = [id for id in _purged_ids(out) if id in catalog.ids]
    if ids or (catalog.path / PURGE).exists():  # else it was killed just before it ended
        remove(catalog, ids, purge=True, look_in=[])


def _purged_ids(out: Path) -> list[str]:
    """The ids to purge; they were chosen before the run, because a purge that is run again no longer has them."""
    return json.loads((out / "ids.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _review_and_choose(shop: Shop, out: Path) -> None:
    _review(shop, out)
    ids = Catalog.load(out / "catalog").ids[::PURGED]
    (out / "ids.json").write_text(json.dumps(ids), encoding="utf-8")


def _erased(out: Path) -> Result:
    """The files of the catalog that name a purged product, and its photos."""
    ids = [id.encode() for id in _purged_ids(out)]
    files = [path for path in (out / "catalog").rglob("*") if path.is_file()]
    naming = sorted(path.name for path in files if any(id in path.read_bytes() for id in ids))
    photos = sorted(path.name for path in (out / "catalog" / "photos").rglob("*.*"))
    return {"naming": json.dumps(naming), "photos": json.dumps(photos)}


def _always(_out: Path) -> Result:
    return {}


@dataclass(frozen=True, slots=True)
class Verb:
    """`run` makes the output, `result` reads its digests, and `before` prepares the folder.

    `complete` reads what only a run to the end makes the same.
    """

    run: Callable[[Shop, Path], None]
    result: Callable[[Path], Result]
    before: Callable[[Shop, Path], None] = _nothing
    complete: Callable[[Path], Result] = _always


VERBS = {
    "ingest": Verb(_ingest, _tables),
    "ingest again": Verb(_ingest, _tables, _ingest_half),
    "ingest update": Verb(_update, _tables, _ingest_half),
    "predict": Verb(_predict, _rows),
    "evaluate": Verb(_evaluate, _report),
    "train": Verb(_train, _weights),
    "export": Verb(_export, _graph, _copy_bundle),
    "fill": Verb(_fill, _filled),
    "review apply": Verb(_apply, _tables, _review),
    "remove purge": Verb(_purge, _tables, _review_and_choose, _erased),
}
REVIEW = "review"


def prepare(shop: Shop, products: int) -> None:
    """Draw a shop, and run all verbs that others depend on."""
    draw_catalog(shop.folder / "shop", products, seed=1)
    lines = shop.feed.read_text(encoding="utf-8").splitlines(keepends=True)
    half = len(lines) // 2
    shop.half.write_text("".join(lines[:half]), encoding="utf-8")
    shop.rest.write_text("".join([lines[0], *lines[half:]]), encoding="utf-8")
    catalog = ingest(shop.feed, shop.photos, shop.catalog)
    split(catalog, val=0.3, seed=1)
    _train(shop, shop.folder)
    predict(shop.bundle, shop.catalog, shop.predictions, format="long", precision=None, engine="torch")


@dataclass(slots=True)
class Tally:
    """The results of kills at `moments` (in s) of a run of `seconds`; `left` are files that only killed runs leave."""

    verb: str
    seconds: float
    moments: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    left: set[str] = field(default_factory=set)

    def row(self) -> Row:
        equal, kills = len(self.moments) - len(self.wrong), len(self.moments)
        when = f"killed {self.moments[0]:.2f} to {self.moments[-1]:.2f} s into {self.seconds:.2f} s"
        return Row(f"{self.verb}: equal results", equal, f"of {kills} kills", equal / kills, when)


def kill_verb(name: str, shop: Shop, folder: Path, moments: int) -> Tally:
    """Run a verb to the end, then kill it at each moment and run it again."""
    verb, log = VERBS[name], folder / "log"
    _finished(start(log, verb.before, shop, folder / "before"), log)
    uninterrupted = _fresh(folder, "uninterrupted")
    seconds = _finished(start(log, verb.run, shop, uninterrupted), log)
    before, expected = verb.result(folder / "before"), verb.result(uninterrupted)
    tally = Tally(name, seconds)
    for number in range(moments):
        out, moment = folder / str(number), seconds * (number + 0.5) / moments
        for _ in range(TRIES):
            process, began = start(log, verb.run, shop, _fresh(folder, out.name)), time.monotonic()
            process.join(moment)
            if process.is_alive():
                process.kill()
                process.join()
                break
            moment = (time.monotonic() - began) * (number + 0.5) / moments  # it was faster than the measured run
        else:
            raise SystemExit(f"{name}: {TRIES} runs ended before they were killed. Give more --products.")
        tally.moments.append(moment)
        after_kill = verb.result(out)
        if after_kill and after_kill not in (before, expected):
            tally.wrong.append(f"{name}, killed after {moment:.2f} s: looks finished but is not")
            continue
        process = start(log, verb.run, shop, out)
        process.join()
        if process.exitcode:
            message = log.read_text(errors="replace").strip().rpartition("\n")[2]
            tally.wrong.append(f"{name}, killed after {moment:.2f} s and run again, fails: {message}")
            continue
        again, complete = {**verb.result(out), **verb.complete(out)}, {**expected, **verb.complete(uninterrupted)}
        if again != complete:
            differing = [file for file in {**complete, **again} if complete.get(file) != again.get(file)]
            tally.wrong.append(f"{name}, killed after {moment:.2f} s and run again: {', '.join(differing)} differ")
        tally.left |= _names(out) - _names(uninterrupted)
        shutil.rmtree(out)
    return tally


def _fresh(folder: Path, name: str) -> Path:
    """A fresh copy of the folder as it is before the verb runs."""
    shutil.rmtree(folder / name, ignore_errors=True)
    return Path(shutil.copytree(folder / "before", folder / name))


def _names(folder: Path) -> set[str]:
    """Every path below the folder, except logs (named by the time) and versions (one for each finished run)."""
    paths = (path for path in folder.rglob("*") if not {"logs", "versions"} & {*path.parts})
    return {path.relative_to(folder).as_posix() for path in paths}


def start(log: Path, run: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Start `run` in a new process, and wait until it begins; its output goes to `log`."""
    log.unlink(missing_ok=True)
    process = CONTEXT.Process(target=_quietly, args=(log, run, *arguments))
    process.start()
    while not log.exists() and process.is_alive():
        time.sleep(0.002)
    return process


def _quietly(log: Path, run: Callable[..., None], *arguments: Any) -> None:
    photo_facts.CHUNK = bulk.CHUNK = SAVE
    with log.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    run(*arguments)


def _finished(process: ForkServerProcess, log: Path) -> float:
    """Wait for the process, and return the seconds until it ended; exits if it failed."""
    began = time.monotonic()
    process.join()
    if process.exitcode:
        raise SystemExit(f"a run failed:\n{log.read_text(errors='replace')[-3000:]}")
    return time.monotonic() - began


def kill_review(shop: Shop, folder: Path, moments: int) -> Tally:
    """Kill a server while decisions are sent to it, then start it again and send all decisions."""
    folder.mkdir(exist_ok=True)
    verdicts = _verdicts(shop)
    with served(shop, folder / "uninterrupted.sqlite", folder / "log") as (_, address):
        began = time.monotonic()
        assert len(_send(address, verdicts)) == len(verdicts)
        tally = Tally(REVIEW, time.monotonic() - began)
    expected = _decisions(folder / "uninterrupted.sqlite")
    for number in range(moments):
        store, moment = folder / f"{number}.sqlite", tally.seconds * (number + 0.5) / moments
        with served(shop, store, folder / "log") as (process, address):
            acknowledged = _send(address, verdicts, process, moment)
        tally.moments.append(moment)
        stored = _decisions(store)
        if lost := [verdict for verdict in acknowledged if stored.get(verdict) != expected[verdict]]:
            tally.wrong.append(
                f"review, killed after {moment:.2f} s: {len(lost)} of {len(acknowledged)} decisions are lost"
            )
            continue
        with served(shop, store, folder / "log") as (_, address):
            _send(address, verdicts)
        if _decisions(store) != expected:
            tally.wrong.append(f"review, killed after {moment:.2f} s and started again: the decisions differ")
    return tally


Field = tuple[str, str]  # product, key


def _verdicts(shop: Shop) -> dict[Field, str]:
    """A value for each field to decide."""
    fields = pl.read_parquet(shop.predictions).filter(pl.col("values").is_not_null()).head(DECISIONS)
    return {(id, key): values for id, key, values in fields.select("id", "key", "values").iter_rows()}


def _send(
    address: str, verdicts: Mapping[Field, str], victim: ForkServerProcess | None = None, moment: float = 0.0
) -> list[Field]:
    """Send the verdicts one by one, and return the acknowledged ones; `victim` is killed after `moment` s."""
    acknowledged: list[Field] = []
    killer = None if victim is None else Timer(moment, victim.kill)
    if killer:
        killer.start()
    with httpx.Client(base_url=address, headers={"Origin": address}) as client:
        for number, ((product, key), values) in enumerate(verdicts.items()):
            verdict = {"product": product, "key": key, "action": "set", "values": values.split("|"), "version": 0}
            body = {"page": "page-of-kills", "batch": f"batch-{number:04d}", "verdicts": [verdict]}
            try:
                response = client.post("/api/decide", json=body)
            except httpx.TransportError:
                break
            response.raise_for_status()
            acknowledged.append((product, key))
    if killer:
        killer.join()
    return acknowledged


def _decisions(file: Path) -> dict[Field, tuple[str, ...]]:
    store = Store(file)
    try:
        return {field: decision.values for field, decision in store.held().items() if decision.decided}
    finally:
        store.close()


@contextmanager
def served(shop: Shop, store: Path, log: Path) -> Iterator[tuple[ForkServerProcess, str]]:
    """Serve a review page in a new process, and yield the process and the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = start(log, _serve, shop, store, port)
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + READY_S
    try:
        while not _answers(address):
            if not process.is_alive() or time.monotonic() > end:
                raise SystemExit(f"the review page does not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        yield process, address
    finally:
        process.kill()
        process.join()


def _serve(shop: Shop, store: Path, port: int) -> None:
    options = Options(predictions=shop.predictions, store=str(store), reviewer="Ann")
    serve(review_app(open_review(shop.catalog, options)), "127.0.0.1", port)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/").status_code == 200
    except httpx.TransportError:
        return False


def main(
    *,
    moments: int = 10,
    products: int = 90,
    only: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    json: Path | None = None,
) -> None:
    """Kill each verb, print the results, and exit with status 1 if anything differs."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    CONTEXT.set_forkserver_preload(SHARED)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shop = Shop(folder)
        _finished(start(folder / "log", prepare, shop, products), folder / "log")
        tallies = []
        for name in only or [*VERBS, REVIEW]:
            (folder / name).mkdir()
            kill = kill_review if name == REVIEW else partial(kill_verb, name)
            tallies.append(kill(shop, folder / name, moments))
    report("Killed and run again", [tally.row() for tally in tallies], json)
    for tally in tallies:
        if tally.left:
            Console().print(f"{tally.verb} leaves files when killed: {', '.join(sorted(tally.left))}", highlight=False)
    if wrong := [line for tally in tallies for line in tally.wrong]:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    cyclopts.run(main)
