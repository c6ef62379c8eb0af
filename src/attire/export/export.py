"""From a bundle to an engine inside it: convert, compare with torch, keep what answers alike, measure its speed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from attire.bundle import ModelBundle, library_versions
from attire.engines.engine import Engine, TorchEngine
from attire.engines.exported import (
    RECORD,
    EngineRecord,
    Parity,
    Precision,
    Runtime,
    Speed,
    cpu_name,
    engine_folder,
)
from attire.engines.runtimes import MODEL_FILES, ExportedEngine, runtime_versions
from attire.engines.speed import BATCH, images_per_s
from attire.errors import ExportError
from attire.export.onnx import make_onnx, write_onnx
from attire.export.openvino import make_openvino
from attire.export.parity import EQUAL, IOU_LOST, Answers, answers, compare, passes
from attire.export.quantise import Scheme
from attire.export.sample import Sample, draw_sample
from attire.files import file_sha256
from attire.progress import tracking
from attire.storage import storing

MAKERS: dict[Runtime, Callable[[Path, Path, Scheme | None, Sample], None]] = {
    "onnx": make_onnx,
    "openvino": make_openvino,
}


class Attempt(NamedTuple):
    """An engine to make: its precision, and how it comes to INT8."""

    precision: Precision
    scheme: Scheme | None = None

    @property
    def kept(self) -> str:
        """What INT8 leaves in float beside heads and pooling."""
        return str(self.scheme or "")


FEW, MANY = Attempt("int8", Scheme(first=0.3, sums=True)), Attempt("int8", Scheme(first=0.6, sums=True))
ATTEMPTS: dict[tuple[Runtime, bool], tuple[Attempt, ...]] = {
    ("onnx", False): (Attempt("float32"),),
    ("onnx", True): (Attempt("int8", Scheme()), Attempt("int8", Scheme(first=0.3)), FEW, MANY),  # sums cost it dear
    ("openvino", False): (Attempt("bfloat16"), Attempt("float32")),  # one file, computed in two ways
    ("openvino", True): (Attempt("int8", Scheme()), Attempt("int8", Scheme(first=0.1, sums=True)), FEW, MANY),
}
"""What is tried, by runtime and whether INT8 is asked for: the fastest first, until one answers as torch does."""


class Exported(NamedTuple):
    """What an export made and measured. tried: all that was compared, in order; the last of them is the engine."""

    folder: Path
    record: EngineRecord
    tried: tuple[tuple[Attempt, Parity], ...]


def export(
    bundle: ModelBundle | str | Path,
    to: Runtime,
    photos: str | Path,
    *,
    int8: bool = False,
    show: Callable[[Attempt, Parity], None] = lambda _attempt, _parity: None,
) -> Exported:
    """Export the bundle's network into its directory as the engine `to`, or `to`-int8.

    `photos`, a catalog or a folder, is what INT8 is calibrated on and what the answers are compared on (see
    `draw_sample`); `show` is told of each comparison. An older engine of that name is replaced. Raises `ExportError` if
    nothing that is tried answers as torch does, and then leaves no engine of that name.
    """
    bundle = ModelBundle.of(bundle)
    name = f"{to}-int8" if int8 else to
    folder = engine_folder(bundle.path, name)
    sample = draw_sample(bundle, photos)
    with storing(bundle.path), tempfile.TemporaryDirectory(prefix=".export-", dir=bundle.path) as temporary:
        graph, made = Path(temporary, "graph.onnx"), Path(temporary, name)
        with tracking("tracing the network"):
            write_onnx(bundle, graph)
        torch_answers = _asked(TorchEngine(bundle, "float32"), sample, "torch, float32")
        tried: list[tuple[Attempt, Parity]] = []
        for attempt in ATTEMPTS[to, int8]:
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            with tracking(f"making {name} {attempt.kept}"):
                MAKERS[to](graph, made / MODEL_FILES[to], attempt.scheme, sample)
            engine = ExportedEngine.of_folder(made, to, attempt.precision, sample.text is not None)
            found = compare(bundle, sample, torch_answers, _asked(engine, sample, f"{name} {attempt.precision}"))
            tried.append((attempt, found))
            show(attempt, found)
            if passes(found, attempt.precision):
                break
        else:
            shutil.rmtree(folder, ignore_errors=True)
            raise ExportError(_refusal(name, tried))
        with tracking("measuring its speed"):
            speed = _speed(bundle, engine, sample)
        record = EngineRecord(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            runtime=to,
            precision=attempt.precision,
            kept=attempt.kept,
            titles=sample.text is not None,
            bundle=bundle.digest,
            sha256={file.name: file_sha256(file) for file in sorted(made.iterdir())},
            versions=library_versions() | _versions(to, int8),
            parity=found,
            speed=speed,
        )
        del engine  # its files move
        (made / RECORD).write_text(record.model_dump_json(indent=1), encoding="utf-8")
        folder.parent.mkdir(exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        made.replace(folder)
    return Exported(folder, record, tuple(tried))


def _asked(engine: Engine, sample: Sample, name: str) -> Answers:
    """What the engine says of the whole sample, with a progress bar."""
    found: list[Answers] = []
    with tracking(f"comparing: {name}", len(sample.pixels), "photos") as tracker:
        for batch in answers(engine, sample):
            found.append(batch)
            tracker.advance(len(batch.category))
    return Answers(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _speed(bundle: ModelBundle, engine: Engine, sample: Sample) -> Speed:
    found = images_per_s({"engine": engine, "torch": TorchEngine(bundle)}, sample.pixels)
    return Speed(
        images_per_s=found["engine"],
        torch_images_per_s=found["torch"],
        batch=BATCH,
        threads=torch.get_num_threads(),
        cpu=cpu_name(),
    )


def _versions(to: Runtime, int8: bool) -> dict[str, str]:
    """Of the libraries that decide what an engine computes."""
    writers = [*(("onnx", "onnxscript") if to == "onnx" else ()), *(["nncf"] if int8 else [])]
    return runtime_versions(to) | {name: version(name) for name in writers}


def _refusal(name: str, tried: Sequence[tuple[Attempt, Parity]]) -> str:
    """Why no engine was kept, with what was measured of the best one."""
    attempt, best = max(tried, key=lambda made: min(made[1].answers, made[1].filled))
    iou = "" if best.iou is None else f", attribute IoU {best.iou:.4f} (torch {best.torch_iou:.4f})"
    numbers = "" if np.isfinite(best.logits) else ", with answers that are no numbers (NaN or infinite)"
    return (
        f"no engine '{name}' was kept: of {best.decisions:,} decisions on {best.photos} photos the best attempt "
        f"({attempt.precision}{f', {attempt.kept} in float' if attempt.kept else ''}) answers {best.answers:.2%} as "
        f"torch does, {best.filled:.2%} where unsure ones are left out{iou}{numbers}. Expected at least "
        f"{EQUAL[attempt.precision]:.1%}, and an IoU at most {IOU_LOST} lower. Use another engine"
        f"{', one without --int8,' if attempt.scheme else ''} or --photos that are more like what it was trained on."
    )
