"""Engines that run the graphs of `attire export` with ONNX Runtime or OpenVINO: uint8 pixels in, logits out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.engines.exported import Precision, Runtime, check_files, engine_folder, export_command, read_record
from attire.errors import BundleError, ConfigError, MissingExtraError
from attire.probe import probe_pixels
from attire.titles import LONGEST

PIXELS, TEXT, CATEGORY, LOGITS = "pixels", "text", "category", "logits"  # the graph's inputs and outputs
MODEL_FILES: dict[Runtime, str] = {"onnx": "model.onnx", "openvino": "model.xml"}
PACKAGES: dict[Runtime, str] = {"onnx": "onnxruntime", "openvino": "openvino"}
Arrays = Mapping[str, NDArray[Any]]
Run = Callable[[Arrays], tuple[NDArray[np.float32], NDArray[np.float32]]]


class ExportedEngine:
    """A graph in a runtime. With `titles` it also reads titles; a product without one has a row of zeros."""

    def __init__(self, name: str, run: Run, titles: bool) -> None:
        self.name, self.run, self.titles = name, run, titles

    @classmethod
    def open(cls, bundle: ModelBundle, name: str) -> ExportedEngine:
        """Open the engine `name` of the bundle and test it on two photos; raises as `open_engine`."""
        record = read_record(bundle, name)
        check_files(bundle, name, record)
        engine = cls.of_folder(engine_folder(bundle.path, name), record.runtime, record.precision, record.titles)
        if fault := _fault(engine, bundle):
            again = f"Run '{export_command(bundle.path, name)}' again."
            raise BundleError(f"the engine in {engine_folder(bundle.path, name)} {fault}. {again}")
        return engine

    @classmethod
    def of_folder(cls, folder: Path, runtime: Runtime, precision: Precision, titles: bool) -> ExportedEngine:
        """Open the engine whose files are in `folder`, without checks."""
        return cls(folder.name, _RUNTIMES[runtime](folder / MODEL_FILES[runtime], precision), titles)

    def logits(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        text = {TEXT: np.zeros((len(pixels), LONGEST), dtype=np.int32)} if self.titles else {}
        return self.run({PIXELS: pixels, **text})

    def titled_logits(
        self, pixels: NDArray[np.uint8] | None, text: NDArray[np.int32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Raises `ConfigError` without pixels, or if the graph has no input for titles."""
        if pixels is None or not self.titles:
            raise ConfigError(
                "an exported engine needs photos, and reads titles only if its bundle does: use --engine torch."
            )
        return self.run({PIXELS: pixels, TEXT: text})


def _fault(engine: ExportedEngine, bundle: ModelBundle) -> str | None:
    """The problem with the engine's logits for two photos, or None."""
    pixels, taxonomy = probe_pixels(bundle.preprocess), bundle.taxonomy
    try:
        logits = engine.logits(pixels)
    except Exception as error:  # the runtimes' errors share no base class
        return f"fails on photos of {pixels.shape[2]} x {pixels.shape[3]} px ({error})"
    shapes = [array.shape for array in logits]
    expected = [(len(pixels), len(taxonomy.categories)), (len(pixels), taxonomy.width)]
    if shapes != expected:
        return f"returns logits of shape {shapes}, expected {expected}"
    return None if all(np.isfinite(array).all() for array in logits) else "returns NaN or infinite logits"


def _onnx(file: Path, _precision: Precision) -> Run:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("an ONNX engine", "onnx") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # so that OMP_NUM_THREADS applies
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # photos are decoded on the same cores
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        raise BundleError(f"onnxruntime {onnxruntime.__version__} cannot open {file}: {error}") from None
    return lambda inputs: tuple(session.run([CATEGORY, LOGITS], dict(inputs)))


def openvino_core() -> Any:
    """The process's only OpenVINO core; it is never destroyed.

    A core replaces the alternate signal stack of its thread, and restores the previous one when it is destroyed. If two
    cores are destroyed in the order of their creation, the thread keeps a stack that no longer exists, and the next
    signal with a Python handler, such as Ctrl-C, crashes the process (OpenVINO 2026.4.1).
    """
    try:
        import openvino
    except ImportError:
        raise MissingExtraError("an OpenVINO engine", "openvino") from None
    return _created_once(openvino.Core)


@cache
def _created_once(create: Callable[[], Any]) -> Any:
    return create()


def _openvino(file: Path, precision: Precision) -> Run:
    core = openvino_core()
    # bfloat16 (also for the float layers of INT8) only if the hardware has it; emulation would be slow.
    half = precision != "float32" and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    settings = {
        "PERFORMANCE_HINT": "LATENCY",  # one batch at a time gets all threads
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        "ENABLE_CPU_PINNING": False,  # two processes must not sit on the same core
    }
    try:
        compiled = core.compile_model(file, "CPU", settings)
    except Exception as error:
        raise BundleError(f"OpenVINO {version('openvino')} cannot open {file}: {error}") from None
    return lambda inputs: _named(compiled(dict(inputs)))


def _named(outputs: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return outputs[CATEGORY], outputs[LOGITS]


_RUNTIMES: dict[Runtime, Callable[[Path, Precision], Run]] = {"onnx": _onnx, "openvino": _openvino}


def runtime_versions(engine: str) -> dict[str, str]:
    """Package and version of the runtime of an exported engine; empty for torch."""
    return {package: version(package) for runtime, package in PACKAGES.items() if engine.split("-")[0] == runtime}
