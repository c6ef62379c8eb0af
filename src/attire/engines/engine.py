"""The engine protocol (pixels -> logits), the torch engine, and how an engine is chosen by name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.engines.exported import EngineRecord, engine_names, read_record
from attire.engines.ranking import TORCH, UNUSABLE, known_ranking, measured_ranking
from attire.engines.runtimes import ExportedEngine
from attire.errors import BundleError, ConfigError, did_you_mean
from attire.model.backbone import fastest_precision
from attire.pixels.normalise import Normalise

logger = logging.getLogger(__name__)
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Ids = NDArray[np.int32]
AUTO = "auto"


class Engine(Protocol):
    """Computes a bundle's logits. Called by one thread at a time. `name` is recorded with the results."""

    name: str

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        """Category float32[B, C] and attributes float32[B, K], for pixels uint8[B, 3, H, W] (`Preprocess.resize`)."""


@runtime_checkable
class TitleEngine(Engine, Protocol):
    """An engine for bundles that also read titles."""

    def titled_logits(self, pixels: Bytes | None, text: Ids) -> tuple[Floats, Floats]:
        """Like `logits`, with titles int32[B, T] from the bundle's `title_reader`; `pixels=None` uses only titles."""


class TorchEngine:
    """The bundle's network, on the GPU if there is one.

    `precision`: "fastest" uses bfloat16 autocast if the hardware supports it natively. docs/experiments.md reports how
    rarely a decision differs from float32.
    """

    name = TORCH

    def __init__(self, bundle: ModelBundle, precision: Literal["fastest", "float32"] = "fastest") -> None:
        self.half = precision == "fastest" and fastest_precision() == "bf16-mixed"
        self.network = bundle.placed_network
        self.device = next(self.network.parameters()).device
        self.normalise = Normalise(bundle.preprocess).to(self.device)

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        return self._logits(pixels, None)

    def titled_logits(self, pixels: Bytes | None, text: Ids) -> tuple[Floats, Floats]:
        return self._logits(pixels, text)

    def _logits(self, pixels: Bytes | None, text: Ids | None) -> tuple[Floats, Floats]:
        batch = None
        if pixels is not None:
            photos = torch.from_numpy(pixels).to(self.device, memory_format=torch.channels_last)
            batch = self.normalise(photos)
        titles = None if text is None else torch.from_numpy(text).to(self.device)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            logits = self.network(batch, titles)
        return logits.category.float().cpu().numpy(), logits.attributes.float().cpu().numpy()


ENGINES: dict[str, Callable[[ModelBundle], Engine]] = {
    TORCH: TorchEngine,
    "onnx": partial(ExportedEngine.open, name="onnx"),
    "onnx-int8": partial(ExportedEngine.open, name="onnx-int8"),
    "openvino": partial(ExportedEngine.open, name="openvino"),
    "openvino-int8": partial(ExportedEngine.open, name="openvino-int8"),
}


def open_engine(bundle: ModelBundle | str | Path, engine: str | Engine = AUTO) -> Engine:
    """The bundle's engine of that name (see `ENGINES`); "auto" chooses the fastest one that works here, and logs it.

    If the bundle's engines were exported on another processor or with other library versions, "auto" measures them,
    once, for some seconds.

    An engine object is returned as it is. Raises `ConfigError` for an unknown name, `BundleError` for an engine that
    was not exported, is damaged or was exported from another state of the bundle, and `MissingExtraError` if its
    runtime is not installed.
    """
    if not isinstance(engine, str):
        return engine
    bundle = ModelBundle.of(bundle)
    if engine == AUTO:
        return _fastest(bundle)
    if engine not in ENGINES:
        known = (AUTO, *ENGINES)
        raise ConfigError(
            f"'{engine}' is not an engine{did_you_mean(engine, known)} Expected one of {', '.join(known)}."
        )
    return ENGINES[engine](bundle)


def _fastest(bundle: ModelBundle) -> Engine:
    """The engine with the most images/s on this machine; one that cannot be opened is skipped and the reason logged."""
    if torch.cuda.is_available():
        return TorchEngine(bundle)
    records: dict[str, EngineRecord] = {}
    for name in engine_names(bundle.path):
        try:
            records[name] = read_record(bundle, name)
        except BundleError as error:
            logger.warning("not using the engine '%s': %s", name, error)
    ranking = known_ranking(bundle, records) or measured_ranking(bundle, records, partial(open_engine, bundle))
    for name, ratio in sorted(ranking.ratios.items(), key=lambda item: -item[1]):
        if ratio <= 1:
            break
        try:
            engine = open_engine(bundle, name)
        except UNUSABLE as error:
            logger.warning("not using the engine '%s': %s", name, error)
            continue
        logger.info("engine %s: %.1f times as fast as torch, %s", name, ratio, ranking.measured)
        return engine
    logger.info("engine torch")
    return TorchEngine(bundle)
