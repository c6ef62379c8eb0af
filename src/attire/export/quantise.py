"""Post-training quantisation to INT8 by nncf, calibrated on the sample's photos."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from attire.engines.runtimes import PIXELS, TEXT
from attire.errors import MissingExtraError
from attire.export.sample import Sample

CONVOLUTIONS = frozenset({"Conv", "Convolution", "GroupConvolution"})  # as ONNX and OpenVINO call them


class Scheme(NamedTuple):
    """What stays in float beside what follows the convolutions: the share `first` of them, and sums of two branches."""

    first: float = 0.0
    sums: bool = False

    def __str__(self) -> str:
        kept = [f"first {self.first:.0%}"] * bool(self.first) + ["sums"] * self.sums
        return ", ".join(kept)


def quantise(model: Any, sample: Sample, scheme: Scheme, layers: Sequence[tuple[str, str]]) -> Any:
    """`model` (of ONNX or OpenVINO) with convolutions in INT8. `layers`: name and type of each, in their order.

    Heads, and the pooling that they see, stay in float: they are a thousandth of the work, and roots of pooled features
    enlarge the smallest errors.
    """
    try:
        import nncf
    except ImportError:
        raise MissingExtraError("INT8", "openvino") from None
    nncf.set_log_level(logging.ERROR)
    convolutions = [name for name, kind in layers if kind in CONVOLUTIONS]
    kept = {name for name, kind in layers if kind not in CONVOLUTIONS and not (kind == "Add" and not scheme.sums)}
    kept.update(convolutions[: round(scheme.first * len(convolutions))])
    inputs = [
        {PIXELS: sample.pixels[i : i + 1], **({} if sample.text is None else {TEXT: sample.text[i : i + 1]})}
        for i in range(len(sample.pixels))
    ]
    return nncf.quantize(
        model,
        nncf.Dataset(inputs),
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(names=sorted(kept), validate=False),
    )
