"""Post-training quantisation to INT8 with nncf, calibrated on the sample's photos."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from attire.engines.runtimes import PIXELS, TEXT
from attire.errors import ExportError, MissingExtraError
from attire.exporting.sample import Sample

CONVOLUTIONS = frozenset({"Conv", "Convolution", "GroupConvolution"})  # names in ONNX and OpenVINO


class Scheme(NamedTuple):
    """Layers that stay in float, besides heads and pooling.

    first: share of the convolutions, counted from the input. sums: whether sums of two branches stay in float.
    """

    first: float = 0.0
    sums: bool = False

    def __str__(self) -> str:
        names = [f"first {self.first:.0%}"] * bool(self.first) + ["sums"] * self.sums
        return ", ".join(names)


def quantise(
    model: Any, sample: Sample, scheme: Scheme, layers: Sequence[tuple[str, str]], *, scalar_inputs: bool = False
) -> Any:
    """Quantise the convolutions of an ONNX or OpenVINO `model`. `layers`: name and type of each, in topological order.

    scalar_inputs: one scale for all channels of a convolution's input. nncf gives depthwise convolutions one for each
    channel, which ONNX Runtime cannot compute.

    Heads and pooling stay in float: they are a thousandth of the work, and the square root of pooled features amplifies
    small errors.
    """
    try:
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters
    except ImportError:
        raise MissingExtraError("INT8", "openvino") from None
    nncf.set_log_level(logging.ERROR)
    convolutions = [name for name, kind in layers if kind in CONVOLUTIONS]
    in_float = {name for name, kind in layers if kind not in CONVOLUTIONS and not (kind == "Add" and not scheme.sums)}
    in_float.update(convolutions[: round(scheme.first * len(convolutions))])
    inputs = [
        {PIXELS: sample.pixels[i : i + 1], **({} if sample.text is None else {TEXT: sample.text[i : i + 1]})}
        for i in range(len(sample.pixels))
    ]
    inputs_of = QuantizationParameters(per_channel=False) if scalar_inputs else None
    try:
        return nncf.quantize(
            model,
            nncf.Dataset(inputs),
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(names=sorted(in_float), validate=False),
            advanced_parameters=AdvancedQuantizationParameters(activations_quantization_params=inputs_of),
        )
    except AttributeError as error:  # nncf 3 on ONNX graphs of ConvNeXt and Swin
        raise ExportError(
            f"nncf cannot quantise this network (AttributeError: {error}). Export it without --int8, or to the other "
            "runtime."
        ) from None
