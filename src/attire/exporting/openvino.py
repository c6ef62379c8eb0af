"""Convert the ONNX graph to OpenVINO's format, in float or INT8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attire.engines.runtimes import openvino_core
from attire.exporting.quantise import Scheme, quantise
from attire.exporting.sample import Sample


def make_openvino(graph: Path, file: Path, scheme: Scheme | None, sample: Sample) -> None:
    """Convert `graph` to `file` (.xml, weights in a .bin beside it), quantised to INT8 if there is a `scheme`."""
    openvino_core()  # before nncf creates cores of its own, so that they are destroyed first
    import openvino

    model = openvino.convert_model(graph)
    if scheme is not None:
        model = quantise(model, sample, scheme, _layers(model))
    openvino.save_model(model, file, compress_to_fp16=False)


def _layers(model: Any) -> list[tuple[str, str]]:
    """Name and type of each operation, in topological order."""
    return [(op.get_friendly_name(), op.get_type_name()) for op in model.get_ordered_ops()]
