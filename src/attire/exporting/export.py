"""Export an engine into a bundle: convert the network, compare its answers with torch, and measure its speed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attire.bundle import ModelBundle
from attire.engines.conditions import conditions_here
from attire.engines.engine import Engine, TorchEngine
from attire.engines.exported import (
    RECORD,
    EngineRecord,
    Parity,
    Precision,
    Runtime,
    Speed,
    engine_folder,
)
from attire.engines.runtimes import MODEL_FILES, PACKAGES, ExportedEngine, runtime_versions
from attire.engines.speed import BATCH, images_per_s
from attire.errors import ExportError
from attire.exporting.onnx import make_onnx, write_onnx
from attire.exporting.openvino import make_openvino
from attire.exporting.parity import EQUAL, IOU_LOST, Answers, answers, compare, passes
from attire.exporting.quantise import Scheme
from attire.exporting.sample import Sample, draw_sample
from attire.files import file_sha256, locked, temporary_folder
from attire.model.multiscale import has_tokens, timm_model
from attire.probe import library_versions
from attire.progress import tracking
from attire.storage import storing

MAKERS: dict[Runtime, Callable[[Path, Path, Scheme | None, Sample], None]] = {
    "onnx": make_onnx,
    "openvino": make_openvino,
}


class Attempt(NamedTuple):
    """An engine to try: its precision, and its INT8 scheme if it has one."""

    precision: Precision
    scheme: Scheme | None = None

    @property
    def kept(self) -> str:
        """The layers that INT8 leaves in float, besides heads and pooling."""
        return str(self.scheme or "")


FEW, MANY = Attempt("int8", Scheme(first=0.3, sums=True)), Attempt("int8", Scheme(first=0.6, sums=True))
ATTEMPTS: dict[tuple[Runtime, bool], tuple[Attempt, ...]] = {
    ("onnx", False): (Attempt("float32"),),
    ("onnx", True): (Attempt("int8", Scheme()), Attempt("int8", Scheme(first=0.3)), FEW, MANY),  # float sums are slow
    ("openvino", False): (Attempt("bfloat16"), Attempt("float32")),  # one file, run at two precisions
    ("openvino", True): (Attempt("int8", Scheme()), Attempt("int8", Scheme(first=0.1, sums=True)), FEW, MANY),
}
"""Attempts by (runtime, INT8), the fastest first. The first one that passes the gate is kept."""


class Exported(NamedTuple):
    """An exported engine. tried: all attempts in order with their measured parity; the last one is the engine."""

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

    `photos` is a catalog or a folder; its photos calibrate INT8 and are used to compare answers (see `draw_sample`).
    `show` is called after each comparison. An older engine of the same name is replaced. Raises `ExportError` if no
    attempt passes the gate; then no engine of that name is left.
    """
    bundle = ModelBundle.of(bundle)
    name = f"{to}-int8" if int8 else to
    if int8 and has_tokens(timm_model(bundle.network.backbone)):
        raise ExportError(
            f"no engine '{name}' was made: INT8 speeds up convolutions, and {bundle.spec.network.backbone} is a "
            "transformer, which has hardly any. Export it without --int8."
        )
    folder = engine_folder(bundle.path, name)
    sample = draw_sample(bundle, photos)
    busy = ExportError(f"another attire export is writing to {bundle.path}: wait until it has finished.")
    with (
        storing(bundle.path),
        locked(bundle.path / ".export.lock", busy),
        temporary_folder(bundle.path, ".export-") as temporary,
    ):
        graph, draft = Path(temporary, "graph.onnx"), Path(temporary, name)
        with tracking("tracing the network"):
            write_onnx(bundle, graph)
        torch_answers = _run(TorchEngine(bundle, "float32"), sample, "torch, float32")
        tried: list[tuple[Attempt, Parity]] = []
        for attempt in ATTEMPTS[to, int8]:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            with tracking(f"making {name} {attempt.kept}"):
                MAKERS[to](graph, draft / MODEL_FILES[to], attempt.scheme, sample)
            engine = ExportedEngine.of_folder(draft, to, attempt.precision, sample.text is not None)
            parity = compare(bundle, sample, torch_answers, _run(engine, sample, f"{name} {attempt.precision}"))
            tried.append((attempt, parity))
            show(attempt, parity)
            if passes(parity, attempt.precision):
                break
        else:
            shutil.rmtree(folder, ignore_errors=True)
            raise ExportError(_refusal(name, tried))
        with tracking("measuring its speed"):
            speed = _measure_speed(bundle, engine, to, sample)
        record = EngineRecord(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            runtime=to,
            precision=attempt.precision,
            kept=attempt.kept,
            titles=sample.text is not None,
            bundle=bundle.digest,
            sha256={file.name: file_sha256(file) for file in sorted(draft.iterdir())},
            versions=library_versions() | _versions(to, int8),
            parity=parity,
            speed=speed,
        )
        del engine  # its files are moved next
        (draft / RECORD).write_text(record.model_dump_json(indent=1), encoding="utf-8")
        folder.parent.mkdir(exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
    return Exported(folder, record, tuple(tried))


def _run(engine: Engine, sample: Sample, name: str) -> Answers:
    """The engine's logits for the whole sample, with a progress bar."""
    batches: list[Answers] = []
    with tracking(f"comparing: {name}", len(sample.pixels), "photos") as tracker:
        for batch in answers(engine, sample):
            batches.append(batch)
            tracker.advance(len(batch.category))
    return Answers(*(np.concatenate(arrays) for arrays in zip(*batches, strict=True)))


def _measure_speed(bundle: ModelBundle, engine: Engine, runtime: Runtime, sample: Sample) -> Speed:
    rates = images_per_s({"engine": engine, "torch": TorchEngine(bundle)}, sample.pixels)
    return Speed(
        images_per_s=rates["engine"],
        torch_images_per_s=rates["torch"],
        batch=BATCH,
        **conditions_here(PACKAGES[runtime]).model_dump(),
    )


def _versions(to: Runtime, int8: bool) -> dict[str, str]:
    """Versions of the libraries that determine what an engine computes."""
    writers = [*(("onnx", "onnxscript") if to == "onnx" else ()), *(["nncf"] if int8 else [])]
    return runtime_versions(to) | {name: version(name) for name in writers}


def _refusal(name: str, tried: Sequence[tuple[Attempt, Parity]]) -> str:
    """The message when no attempt passed, with the measurements of the best one."""
    attempt, best = max(tried, key=lambda result: min(result[1].answers, result[1].filled))
    iou = "" if best.iou is None else f", attribute IoU {best.iou:.4f} (torch {best.torch_iou:.4f})"
    broken = "" if np.isfinite(best.logits) else ". It returns NaN or infinite logits"
    return (
        f"no engine '{name}' was kept: the best attempt ({attempt.precision}"
        f"{f', {attempt.kept} in float' if attempt.kept else ''}) agrees with torch in {best.answers:.2%} of "
        f"{best.decisions:,} decisions on {best.photos} photos, and in {best.filled:.2%} if unsure answers are left "
        f"open{iou}{broken}. Expected at least {EQUAL[attempt.precision]:.1%}, and an IoU at most {IOU_LOST} lower. "
        f"Use another engine{', one without --int8,' if attempt.scheme else ''} or --photos that are more like the "
        "training photos."
    )
