"""Every verb killed with SIGKILL at moments spread over its run, and called again: is the result as if it had not been?

python benchmarks/kills.py [--moments 10] [--products 90] [--only ingest predict ...] [--json FILE]

Everything is done on a drawn catalog, by processes of their own. Equal means: for `ingest` the digest and the bytes of
every table; for `predict` the bytes of the file; for `evaluate` those of every file; for `train` weights, probe and all
of bundle.json but the time; for `export` the graph and the answers that were compared. What is there right after a kill
must be that result already, or what was there before, or must not look finished. For `review` every decision that was
answered must be there after the kill, and in the end the same decisions hold. Exits with 1 where anything differs.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import socket
import sys
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
from common import Row, report
from cyclopts import Parameter
from rich.console import Console

from attire.bundle import SPEC, ModelBundle
from attire.catalog import photo_facts
from attire.catalog.ingest import ingest
from attire.catalog.splits import Splits, split
from attire.catalog.store import Catalog, read_manifest
from attire.config import load_recipe
from attire.demo.draw import draw_catalog
from attire.demo.run import SETTINGS
from attire.engines.exported import RECORD, engine_folder
from attire.errors import AttireError
from attire.evaluation.evaluate import evaluate
from attire.evaluation.report import SCORES
from attire.export.export import export
from attire.files import file_sha256
from attire.inference import bulk
from attire.inference.bulk import predict
from attire.inference.run_record import record_path
from attire.review.app import open_review, review_app, serve
from attire.review.options import Options
from attire.review.store.events import Store
from attire.training.run import train

SAVE = 20  # photos or products between two saves, so that a small run has several
TRIES = 5  # to hit a moment before the end of a run that is faster than the measured one
DECISIONS = 100
READY_S = 60.0
CONTEXT = multiprocessing.get_context("forkserver")
# Imported once, for every process. polars has threads from the start, and a fork of it would wait for them for ever.
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
Found = Mapping[str, str]  # what a result is told by; empty where nothing looks finished


@dataclass(frozen=True, slots=True)
class Shop:
    """What the verbs work on, below one folder."""

    folder: Path

    @property
    def feed(self) -> Path:
        return self.folder / "shop" / "feed.csv"

    @property
    def half(self) -> Path:
        return self.folder / "shop" / "half.csv"

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


def _tables(out: Path) -> Found:
    try:
        digest = Catalog.open(out / "catalog").digest
    except AttireError:
        return {}
    manifest = read_manifest(out / "catalog")
    assert manifest is not None
    return {"digest": digest, **manifest.tables}


def _predict(shop: Shop, out: Path) -> None:
    predict(shop.bundle, shop.photos, out / "p.csv", format="long", engine="torch", batch_size=8)


def _rows(out: Path) -> Found:
    file = out / "p.csv"
    return {file.name: file_sha256(file)} if record_path(file).exists() else {}


def _evaluate(shop: Shop, out: Path) -> None:
    evaluate(ModelBundle.load(shop.bundle), Catalog.open(shop.catalog), "val", out=out / "report")


def _report(out: Path) -> Found:
    return _files(out / "report", "[!.]*") if (out / "report" / SCORES).is_file() else {}


def _train(shop: Shop, out: Path) -> None:
    catalog = Catalog.open(shop.catalog)
    stages = {"category": {"epochs": 1, "lr": 2e-3}, "attributes": {"epochs": 2, "lr": 2e-3}}
    recipe = load_recipe("base", {**SETTINGS, "size_px": (64, 48), **stages})
    train(catalog, Splits.read(catalog), recipe=recipe, out=out / "run", weights="none", resume=True, workers=0)


def _weights(out: Path) -> Found:
    spec = out / "run" / "bundle" / SPEC
    if not spec.is_file():
        return {}
    said = json.loads(spec.read_text(encoding="utf-8")) | {"created": ""}
    return {SPEC: json.dumps(said), **_files(spec.parent, "*.safetensors")}


def _copy_bundle(shop: Shop, out: Path) -> None:
    shutil.copytree(shop.bundle, out / "bundle")


def _export(shop: Shop, out: Path) -> None:
    export(out / "bundle", "onnx", shop.catalog)


def _graph(out: Path) -> Found:
    record = engine_folder(out / "bundle", "onnx") / RECORD
    if not record.is_file():
        return {}
    said = json.loads(record.read_text(encoding="utf-8"))
    return {name: json.dumps(said[name]) for name in ("bundle", "sha256", "parity")}


def _files(folder: Path, pattern: str) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(folder.glob(pattern))}


def _nothing(_shop: Shop, out: Path) -> None:
    out.mkdir()


@dataclass(frozen=True, slots=True)
class Verb:
    """`run` makes what `found` tells; `before` makes what stands there first."""

    run: Callable[[Shop, Path], None]
    found: Callable[[Path], Found]
    before: Callable[[Shop, Path], None] = _nothing


VERBS = {
    "ingest": Verb(_ingest, _tables),
    "ingest again": Verb(_ingest, _tables, _ingest_half),
    "predict": Verb(_predict, _rows),
    "evaluate": Verb(_evaluate, _report),
    "train": Verb(_train, _weights),
    "export": Verb(_export, _graph, _copy_bundle),
}
REVIEW = "review"


def prepare(shop: Shop, products: int) -> None:
    """Draw a shop, and run the whole job once."""
    draw_catalog(shop.folder / "shop", products, seed=1)
    lines = shop.feed.read_text(encoding="utf-8").splitlines(keepends=True)
    shop.half.write_text("".join(lines[: len(lines) // 2]), encoding="utf-8")
    catalog = ingest(shop.feed, shop.photos, shop.catalog)
    split(catalog, val=0.3, seed=1)
    _train(shop, shop.folder)
    predict(shop.bundle, shop.catalog, shop.predictions, format="long", precision=None, engine="torch")


@dataclass(slots=True)
class Tally:
    """What came of kills at `moments` (s) of a run of `seconds`; `left` are files that it leaves only when killed."""

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
    """The verb unbroken, then killed at each moment and called again."""
    verb, log = VERBS[name], folder / "log"
    _finished(start(log, verb.before, shop, folder / "before"), log)
    whole = _fresh(folder, "whole")
    seconds = _finished(start(log, verb.run, shop, whole), log)
    before, expected = verb.found(folder / "before"), verb.found(whole)
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
            moment = (time.monotonic() - began) * (number + 0.5) / moments  # it was faster than the measured one
        else:
            raise SystemExit(f"{name}: {TRIES} runs ended before they were killed. Give more --products.")
        tally.moments.append(moment)
        at_once = verb.found(out)
        if at_once and at_once not in (before, expected):
            tally.wrong.append(f"{name}, killed after {moment:.2f} s: looks finished, and is not")
            continue
        process = start(log, verb.run, shop, out)
        process.join()
        if process.exitcode:
            said = log.read_text(errors="replace").strip().rpartition("\n")[2]
            tally.wrong.append(f"{name}, killed after {moment:.2f} s and called again, fails: {said}")
            continue
        again = verb.found(out)
        if again != expected:
            other = [part for part in {**expected, **again} if expected.get(part) != again.get(part)]
            tally.wrong.append(f"{name}, killed after {moment:.2f} s and called again: {', '.join(other)} differ")
        tally.left |= _names(out) - _names(whole)
        shutil.rmtree(out)
    return tally


def _fresh(folder: Path, name: str) -> Path:
    """A copy of what stands there before the verb runs."""
    shutil.rmtree(folder / name, ignore_errors=True)
    return Path(shutil.copytree(folder / "before", folder / name))


def _names(folder: Path) -> set[str]:
    """Every path below it, but for logs, whose names have the time in them."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if "logs" not in path.parts}


def start(log: Path, run: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """A process that has just begun to run this; what it says comes into `log`."""
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
    """The seconds until it ends; exits where it fails."""
    began = time.monotonic()
    process.join()
    if process.exitcode:
        raise SystemExit(f"a run failed:\n{log.read_text(errors='replace')[-3000:]}")
    return time.monotonic() - began


def kill_review(shop: Shop, folder: Path, moments: int) -> Tally:
    """A server that is killed while decisions are sent to it, and then asked to take the rest."""
    folder.mkdir(exist_ok=True)
    verdicts = _verdicts(shop)
    with served(shop, folder / "whole.sqlite", folder / "log") as (_, address):
        began = time.monotonic()
        assert len(_sent(address, verdicts)) == len(verdicts)
        tally = Tally(REVIEW, time.monotonic() - began)
    expected = _held(folder / "whole.sqlite")
    for number in range(moments):
        store, moment = folder / f"{number}.sqlite", tally.seconds * (number + 0.5) / moments
        with served(shop, store, folder / "log") as (process, address):
            answered = _sent(address, verdicts, process, moment)
        tally.moments.append(moment)
        kept = _held(store)
        if lost := [verdict for verdict in answered if kept.get(verdict) != expected[verdict]]:
            tally.wrong.append(
                f"review, killed after {moment:.2f} s: {len(lost)} of {len(answered)} decisions are lost"
            )
            continue
        with served(shop, store, folder / "log") as (_, address):
            _sent(address, verdicts)
        if _held(store) != expected:
            tally.wrong.append(f"review, killed after {moment:.2f} s and started again: other decisions hold")
    return tally


Field = tuple[str, str]  # product, key


def _verdicts(shop: Shop) -> dict[Field, str]:
    """A value for each field to decide."""
    fields = pl.read_parquet(shop.predictions).filter(pl.col("values").is_not_null()).head(DECISIONS)
    return {(id, key): values for id, key, values in fields.select("id", "key", "values").iter_rows()}


def _sent(
    address: str, verdicts: Mapping[Field, str], victim: ForkServerProcess | None = None, moment: float = 0.0
) -> list[Field]:
    """Send the verdicts one by one, and say which were answered; the victim is killed at that moment."""
    answered: list[Field] = []
    killer = None if victim is None else Timer(moment, victim.kill)
    if killer:
        killer.start()
    with httpx.Client(base_url=address, headers={"Origin": address}) as client:
        for number, ((product, key), values) in enumerate(verdicts.items()):
            said = {"product": product, "key": key, "action": "set", "values": values.split("|"), "version": 0}
            body = {"page": "page-of-kills", "batch": f"batch-{number:04d}", "verdicts": [said]}
            try:
                answer = client.post("/api/decide", json=body)
            except httpx.TransportError:
                break
            answer.raise_for_status()
            answered.append((product, key))
    if killer:
        killer.join()
    return answered


def _held(file: Path) -> dict[Field, tuple[str, ...]]:
    store = Store(file)
    try:
        return {of: said.values for of, said in store.held().items() if said.decided}
    finally:
        store.close()


@contextmanager
def served(shop: Shop, store: Path, log: Path) -> Iterator[tuple[ForkServerProcess, str]]:
    """A review page in a process of its own, and its address."""
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
    """Kill each verb, print what came of it, and exit with 1 where anything differs."""
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
    report("Killed and called again", [tally.row() for tally in tallies], json)
    for tally in tallies:
        if tally.left:
            Console().print(f"{tally.verb}, killed, leaves: {', '.join(sorted(tally.left))}", highlight=False)
    if wrong := [line for tally in tallies for line in tally.wrong]:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    cyclopts.run(main)
