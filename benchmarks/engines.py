"""Compare the engines with PyTorch eager in float32: images/s on decoded photos, on the CPU, as ratios.

python benchmarks/engines.py [BUNDLE --photos CATALOG] [--json FILE]

Without a bundle, the network is an untrained ResNeXt-50 32x4d at 224 px with the original method's heads (46 keys). It
is as fast as a trained one, but its answers are random, so the gate is skipped and every INT8 scheme is measured. With
a bundle, all engines are exported into a copy of it, and those that pass the gate are measured. Engines take turns, and
each figure is the best of several batches of 32.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import cyclopts
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from support.common import Row, report
from support.untrained import fresh, ungated

from attire.bundle import ModelBundle
from attire.config import Architecture
from attire.engines.conditions import cpu_name
from attire.engines.engine import Engine, TorchEngine, open_engine
from attire.engines.speed import images_per_s
from attire.errors import ExportError
from attire.exporting.export import ATTEMPTS, export

BASE = "PyTorch eager float32"


class Eager:
    """The baseline: the plain network in float32, with torch's default memory layout."""

    name = "eager"

    def __init__(self, bundle: ModelBundle) -> None:
        self.network, self.normalise = bundle.network, bundle.preprocess.normalise

    def logits(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.inference_mode():
            logits = self.network(torch.from_numpy(self.normalise(pixels)))
        return logits.category.numpy(), logits.attributes.numpy()


def main(
    bundle: Path | None = None,
    *,
    photos: Path | None = None,
    backbone: str = "resnext50_32x4d",
    size_px: tuple[int, int] = (224, 224),
    rounds: int = 3,
    json: Path | None = None,
) -> None:
    """Measure all engines `rounds` times in turns, and print the best of each with its ratio to the baseline."""
    with tempfile.TemporaryDirectory() as folder:
        if bundle is None:
            model = fresh(Path(folder) / "fresh", Architecture(backbone=backbone, shared=True), size_px)
            engines = ungated(model, Path(folder))
        elif photos is None:
            raise SystemExit("a bundle needs --photos CATALOG, to calibrate engines and compare their answers")
        else:
            shutil.copytree(bundle, Path(folder) / "bundle")
            model = ModelBundle.load(Path(folder) / "bundle")
            engines = gated(model, photos)
        noise = np.random.default_rng(0).integers(0, 256, (32, 3, *model.preprocess.size_px), dtype=np.uint8)
        # `TorchEngine` changes the network's memory layout, so the baseline has its own network.
        torch_engines: dict[str, Engine] = {
            BASE: Eager(ModelBundle.load(model.path)),
            "torch (attire)": TorchEngine(model),
        }
        runs = [images_per_s(torch_engines | engines, noise) for _ in range(rounds)]
    rates = {name: max(run[name] for run in runs) for name in runs[0]}
    threads, height, width = torch.get_num_threads(), *model.preprocess.size_px
    title = f"{model.spec.network.backbone}, {height} x {width} px, batches of 32, {threads} threads, {cpu_name()}"
    rows = [Row(name, rate, "images/s", rate / rates[BASE], BASE) for name, rate in rates.items()]
    report(title, rows, json)


def gated(bundle: ModelBundle, photos: Path) -> dict[str, Engine]:
    """The engines that pass the gate."""
    engines: dict[str, Engine] = {}
    for runtime, int8 in ATTEMPTS:
        try:
            record = export(bundle, runtime, photos, int8=int8).record
        except ExportError as error:
            Console(stderr=True).print(str(error))
            continue
        kept = f", {record.kept} in float" if record.kept else ""
        engines[f"{runtime} {record.precision}{kept}"] = open_engine(bundle, f"{runtime}-int8" if int8 else runtime)
    return engines


if __name__ == "__main__":
    cyclopts.run(main)
