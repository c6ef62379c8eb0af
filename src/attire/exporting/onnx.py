"""Write the network as an ONNX graph, in float32 or INT8."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from attire.bundle import ModelBundle
from attire.engines.runtimes import CATEGORY, LOGITS, PIXELS, TEXT
from attire.errors import MissingExtraError
from attire.exporting.quantise import Scheme, quantise
from attire.exporting.sample import Sample
from attire.pixels.normalise import Normalise
from attire.titles import LONGEST

OPSET = 20
FOLDED = 2**20  # elements of a constant


class Flat(nn.Module):
    """The exported graph: uint8[B, 3, H, W], and int32[B, T] with titles -> category [B, C] and flat logits [B, K].

    One output per key would be easier to read, but some runtimes fail to load dozens of outputs with external data.
    """

    def __init__(self, bundle: ModelBundle) -> None:
        super().__init__()
        self.normalise, self.network = Normalise(bundle.preprocess), bundle.network

    def forward(self, pixels: Tensor, text: Tensor | None = None) -> tuple[Tensor, Tensor]:
        category, attributes = self.network(self.normalise(pixels), text)
        return category, attributes


def write_onnx(bundle: ModelBundle, file: Path) -> None:
    """Write the bundle's network in float32, with a dynamic batch size."""
    try:
        import onnx  # noqa: F401
        from onnxscript.optimizer import fold_constants
    except ImportError:
        raise MissingExtraError("an export", "onnx") from None
    height, width = bundle.preprocess.size_px
    inputs = {PIXELS: torch.zeros(2, 3, height, width, dtype=torch.uint8)}
    if bundle.title_reader:
        inputs[TEXT] = torch.zeros(2, LONGEST, dtype=torch.int32)
    batch = torch.export.Dim("batch")
    network = Flat(bundle).to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's exporter warns about its own deprecations
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            network,
            args=tuple(inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=[CATEGORY, LOGITS],
            dynamic_shapes={name: {0: batch} for name in inputs},
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    # nncf fails on a cast of a constant, and torch folds only small ones.
    fold_constants(program.model, input_size_limit=FOLDED, output_size_limit=FOLDED)
    program.save(file, external_data=False)


def make_onnx(graph: Path, file: Path, scheme: Scheme | None, sample: Sample) -> None:
    """Copy `graph` to `file`, quantised to INT8 if there is a `scheme`."""
    import onnx

    if scheme is None:
        file.write_bytes(graph.read_bytes())
        return
    model = onnx.load(graph)
    layers = [(node.name, node.op_type) for node in model.graph.node]
    onnx.save(quantise(model, sample, scheme, layers, scalar_inputs=True), file)
