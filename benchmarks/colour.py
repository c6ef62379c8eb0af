"""What the colour branch costs in bulk prediction: `attire predict` with it beside the same network without it.

python benchmarks/colour.py [--photos 96] [--rounds 3] [--json FILE]

Untrained networks with the architecture of the recipe `tuned`, each with the torch engine and with ONNX Runtime and
OpenVINO in float32 and INT8 (without the gate, which random answers would not pass). Every run goes from drawn photos
to a Parquet file. The two networks take turns, and a figure is the best of all rounds. Seconds of the processor, of all
threads, are hardly changed by other work on the machine. The aim is a ratio of at least 0.95 with every engine.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import cyclopts
import numpy as np
import torch
from support.common import Row, report
from support.drawn import draw_shop
from support.untrained import fresh, ungated

from attire.bundle import ModelBundle
from attire.config import load_recipe
from attire.engines.conditions import cpu_name
from attire.engines.engine import Engine, TorchEngine
from attire.engines.exported import Runtime
from attire.exporting.export import Attempt
from attire.exporting.quantise import Scheme
from attire.inference.bulk import predict
from attire.inference.logits import BATCH
from attire.memory import keep_freed_memory

WITH, WITHOUT = "with colour", "without colour"
FLOAT, INT8 = (Attempt("float32"),), (Attempt("int8", Scheme()),)
ATTEMPTS: dict[tuple[Runtime, bool], tuple[Attempt, ...]] = {
    ("onnx", False): FLOAT,
    ("onnx", True): INT8,
    ("openvino", False): FLOAT,
    ("openvino", True): INT8,
}


class Seconds(NamedTuple):
    """Seconds of a run: by the clock, and of the processor in all threads."""

    wall: float
    processor: float


def main(
    *,
    backbone: str = "tf_efficientnet_lite0",
    size_px: tuple[int, int] = (224, 168),
    photos: int = 96,
    photo_px: tuple[int, int] = (640, 480),
    rounds: int = 3,
    json: Path | None = None,
) -> None:
    """Measure, print the results and write them to `json` if given."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        draw_shop(folder, photos, photo_px)
        with_colour = load_recipe("tuned", {"backbone": backbone}).architecture
        architectures = {WITH: with_colour, WITHOUT: with_colour.model_copy(update={"colour": 0})}
        bundles = {kind: fresh(folder / kind, of, size_px) for kind, of in architectures.items()}
        engines = {kind: _engines(bundle) for kind, bundle in bundles.items()}
        best = {(name, kind): Seconds(float("inf"), float("inf")) for name in engines[WITH] for kind in bundles}
        for _ in range(rounds):
            for name, kind in best:
                seconds = _bulk(bundles[kind], engines[kind][name], folder / "photos")
                best[name, kind] = Seconds(*map(min, best[name, kind], seconds))
    rows = []
    for name in engines[WITH]:
        costs, before = best[name, WITH], best[name, WITHOUT]
        rows.append(Row(f"{name}, {WITH}", photos / costs.wall, "photos/s", before.wall / costs.wall, WITHOUT))
        per_photo = 1000 * costs.processor / photos
        rows.append(Row(f"{name}, {WITH}", per_photo, "ms of processor", before.processor / costs.processor, WITHOUT))
    threads = torch.get_num_threads()
    title = f"attire predict, {backbone}, {size_px[0]} x {size_px[1]} px, {threads} threads, {cpu_name()}"
    report(title, rows, json)


def _engines(bundle: ModelBundle) -> dict[str, Engine]:
    """All engines of the bundle, ready to compute."""
    engines = {"torch": TorchEngine(bundle)} | ungated(bundle, bundle.path, ATTEMPTS)
    photos = np.zeros((BATCH, 3, *bundle.preprocess.size_px), dtype=np.uint8)
    for engine in engines.values():
        engine.logits(photos)
    return engines


def _bulk(bundle: ModelBundle, engine: Engine, photos: Path) -> Seconds:
    """From the photos to a Parquet file."""
    with tempfile.TemporaryDirectory() as folder:
        wall, processor = time.perf_counter(), time.process_time()
        predict(bundle, photos, Path(folder) / "out.parquet", engine=engine)
        return Seconds(time.perf_counter() - wall, time.process_time() - processor)


if __name__ == "__main__":
    cyclopts.run(main)
